"""Ten thousand small requests, and what the server's processes hold of memory meanwhile: `make soak`.

Prints what came of it; exits with 1 where a process goes on growing after its warm-up, uses the processor while it is
idle, or where a request fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "integration"))

from servers import launch

from soak import Account, soak, write_models

MOST_IDLE_SHARE = 0.02
MOST_SHOWN = 10
MIB = 2**20


def print_account(account: Account) -> None:
    """What was done, and what came of it."""
    print(
        f"{account.num_answered} answered, {account.num_cached} of them with something from the cache; "
        f"{account.num_cancelled} cancelled; {len(account.failures)} failed"
    )
    for failure in account.failures[:MOST_SHOWN]:
        print(f"- {failure}")
    for process in account.processes:
        memory = ", ".join(f"{size / MIB:.1f}" for size in process.memory[::4])
        print(f"{process.name}: {memory} MiB; {process.growth_bytes / MIB:+.2f} MiB after its warm-up")
        print(f"{process.name}: {process.idle_share:.1%} of a core while idle")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of what is asked (default: %(default)s)")
    parser.add_argument("--growth-mib", type=float, default=3.0, help="allowed (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with launch(folder / "server.log", folder, *write_models(folder)) as server:
            account = soak(server, arguments.requests, arguments.seed)
            server.stop()
    print_account(account)
    has_grown = any(process.growth_bytes > arguments.growth_mib * MIB for process in account.processes)
    is_restless = any(process.idle_share > MOST_IDLE_SHARE for process in account.processes)
    sys.exit(has_grown or is_restless or bool(account.failures))


if __name__ == "__main__":
    main()
