"""What was measured, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.goals import GOALS
from bench.results import Results
from bench.setups.setup import BARE_LOOP, GRPC, HTTP, LLAMA_SERVER, SETUPS
from bench.workloads.workload import Figure, Workload

_TITLE_WIDTH = 44
_WIDTHS = {setup: max(10, len(setup) + 2) for setup in SETUPS}
_RATIOS = ((GRPC, BARE_LOOP), (HTTP, BARE_LOOP), (GRPC, LLAMA_SERVER), (HTTP, LLAMA_SERVER))
_RATIO_WIDTH = 8
_NOTHING = "-"


def result_lines(results: Results, workloads: Sequence[Workload]) -> Iterator[str]:
    """A row a figure: each setup's median, and the medians of the rounds' ratios."""
    setups = "".join(f"{setup:>{_WIDTHS[setup]}}" for setup in SETUPS)
    yield f"{'':{_TITLE_WIDTH}}{setups}{'/ bare loop':>{2 * _RATIO_WIDTH}}{'/ llama-server':>{2 * _RATIO_WIDTH}}"
    overs = "".join(f"{over:>{_RATIO_WIDTH}}" for over, _ in _RATIOS)
    yield f"{'':{_TITLE_WIDTH + sum(_WIDTHS.values())}}{overs}"
    for workload in workloads:
        if results.has(workload.name):
            yield workload.title
            for figure in workload.figures:
                yield _row(results, workload.name, figure)


def _row(results: Results, workload: str, figure: Figure) -> str:
    unit = f", {figure.unit}" if figure.unit else ""
    line = f"  {figure.title + unit:{_TITLE_WIDTH - 2}}"
    for setup in SETUPS:
        value = results.median(workload, setup, figure.key)
        text = _NOTHING if value is None else f"{value * figure.scale:.{figure.decimals}f}"
        line += f"{text:>{_WIDTHS[setup]}}"
    for over, under in _RATIOS:
        ratio = results.ratio(workload, figure.key, over, under) if figure.is_compared else None
        text = _NOTHING if ratio is None else f"{ratio:.2f}"
        line += f"{text:>{_RATIO_WIDTH}}"
    return line


def goal_lines(results: Results) -> Iterator[str]:
    """A row a goal."""
    width = max(len(goal.title) for goal in GOALS)
    yield f"{'':{width}}{'goal':>14}{'measured':>12}"
    for goal in GOALS:
        unit = f" {goal.unit}" if goal.unit else ""
        wanted = f"{goal.bound.value} {goal.value:g}{unit}"
        measured = goal.measure(results)
        shown = _NOTHING if measured is None else f"{measured:.2f}"
        verdict = "" if measured is None else "  met" if goal.is_met(measured) else "  missed"
        yield f"{goal.title:{width}}{wanted:>14}{shown:>12}{verdict}"
