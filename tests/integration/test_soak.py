"""A short run of tests/soak: what is asked often leaves nothing behind, and who has nothing to do does nothing."""

from __future__ import annotations

from pathlib import Path

from servers import launch

from soak import soak, write_models

NUM_REQUESTS = 800
MOST_GROWTH_BYTES = 3 * 2**20
MOST_IDLE_SHARE = 0.02


def test_requests_leave_nothing_behind(tmp_path: Path) -> None:
    with launch(tmp_path / "server.log", tmp_path, *write_models(tmp_path)) as server:
        account = soak(server, NUM_REQUESTS, seed=1)
        assert server.stop() == 0
    assert account.failures == []
    assert account.num_answered + account.num_cancelled == NUM_REQUESTS
    assert min(account.num_cached, account.num_cancelled) > NUM_REQUESTS / 10, "there were some of every kind"
    for process in account.processes:
        assert process.growth_bytes < MOST_GROWTH_BYTES, (process.name, process.memory)
        assert process.idle_share < MOST_IDLE_SHARE, process.name
