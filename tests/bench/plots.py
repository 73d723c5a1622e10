"""Figures for the documentation, from the results of a run. Needs matplotlib: `pip install llamawire[bench]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from bench.goals import STREAM_COUNTS
from bench.results import Results
from bench.setups.setup import BARE_LOOP, GRPC, HTTP, LLAMA_CPP_PYTHON, LLAMA_SERVER, SETUPS

_COLOURS = {
    BARE_LOOP: "#8a8a8a",
    GRPC: "#1b6ca8",
    HTTP: "#63a7d4",
    LLAMA_SERVER: "#d1782b",
    LLAMA_CPP_PYTHON: "#b9a44c",
}
_LABELS = {GRPC: "llamawire, gRPC", HTTP: "llamawire, HTTP", BARE_LOOP: "bare llama.cpp loop"}
_SIZE_INCHES = (6.4, 3.4)


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Draw what there are results for; gives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, draw in (
        ("decode.svg", _draw_decode),
        ("shared-prefix.svg", _draw_shared_prefix),
        ("long-prompt.svg", _draw_long_prompt),
    ):
        drawing = Drawing(figsize=_SIZE_INCHES, layout="constrained")
        axes = drawing.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        if draw(axes, results):
            _save(drawing, folder / name)
            files.append(folder / name)
    return files


def _save(drawing: Drawing, path: Path) -> None:
    # The same results are to give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "llamawire", "svg.fonttype": "none"}):
        drawing.savefig(path, metadata={"Date": None})


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _label(setup: str) -> str:
    return _LABELS.get(setup, setup)


def _draw_decode(axes: Axes, results: Results) -> bool:
    counts_drawn: set[int] = set()
    for setup in SETUPS:
        points = [(count, results.median(f"streams-{count}", setup, "decode")) for count in STREAM_COUNTS]
        known = [(count, rate) for count, rate in points if rate is not None]
        if known:
            counts, rates = zip(*known, strict=True)
            axes.plot(
                counts,
                rates,
                marker="o",
                markersize=4,
                color=_COLOURS[setup],
                label=_label(setup),
                linestyle="--" if setup == BARE_LOOP else "-",
            )
            counts_drawn.update(counts)
    if not counts_drawn:
        return False
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(counts_drawn), [str(count) for count in sorted(counts_drawn)])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("unrelated streams at once (8 slots)")
    axes.set_ylabel("token/s, all streams together")
    axes.set_title("Decode, while all slots are busy", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=8)
    return True


def _draw_shared_prefix(axes: Axes, results: Results) -> bool:
    axes.set_title("First token, 8 callers with one system prompt of 660 tokens", loc="left", fontsize=11)
    axes.set_xlabel("seconds, median of the eight")
    return _draw_bars(axes, results, "shared-prefix", (("cold_first", "cold"), ("warm_first", "warm")), 1.0)


def _draw_long_prompt(axes: Axes, results: Results) -> bool:
    axes.set_title("Between tokens of 7 streams while a long prompt arrives", loc="left", fontsize=11)
    axes.set_xlabel("milliseconds (logarithmic)")
    axes.set_xscale("log")
    figures = (("between_p50", "p50"), ("between_p99", "p99"))
    return _draw_bars(axes, results, "long-prompt", figures, 1000.0)


def _draw_bars(
    axes: Axes, results: Results, workload: str, figures: Sequence[tuple[str, str]], scale: float
) -> bool:
    setups = [setup for setup in SETUPS if results.median(workload, setup, figures[0][0]) is not None]
    height = 0.8 / len(figures)
    for place, (figure, title) in enumerate(figures):
        for row, setup in enumerate(setups):
            value = (results.median(workload, setup, figure) or 0.0) * scale
            at = row + (place - (len(figures) - 1) / 2) * height
            axes.barh(at, value, height * 0.92, color=_COLOURS[setup], alpha=1 - 0.45 * place)
            axes.text(value, at, f" {_short(value)}  {title}", va="center", fontsize=7)
    axes.set_yticks(range(len(setups)), [_label(setup) for setup in setups], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.18)
    return bool(setups)
