"""grpc.health.v1 over a real socket: the process, its services, its models, and who watches them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llamawire_server.rpc.health import HealthBoard
from llamawire_server.rpc.server import SERVICE_NAMES

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
PATIENCE_SECONDS = 30


class Checker:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = health_pb2_grpc.HealthStub(channel)

    async def check(self, name: str) -> int:
        return (await self._stub.Check(health_pb2.HealthCheckRequest(service=name))).status

    def watch(self, name: str) -> Any:
        return self._stub.Watch(health_pb2.HealthCheckRequest(service=name))


@pytest.fixture
def checker(channel: grpc.aio.Channel) -> Checker:
    return Checker(channel)


async def passed_on(board: HealthBoard) -> None:
    """Until what was posted is told."""
    await asyncio.wait_for(board._changes.join(), PATIENCE_SECONDS)


async def next_status(watch: Any) -> int:
    return (await asyncio.wait_for(watch.read(), PATIENCE_SECONDS)).status


async def test_the_process_and_all_its_services_are_told_together(
    checker: Checker, board: HealthBoard
) -> None:
    assert len(SERVICE_NAMES) == 3
    for is_serving, expected in ((True, SERVING), (False, NOT_SERVING)):
        board.post_process(is_serving)
        await passed_on(board)
        assert {await checker.check(name) for name in ("", *SERVICE_NAMES)} == {expected}


async def test_a_model_is_told_under_all_its_names_and_has_no_say_in_the_process(
    checker: Checker, board: HealthBoard
) -> None:
    board.post_process(is_serving=True)
    board.post_model(("a", "b"), is_ready=False)
    await passed_on(board)
    assert [await checker.check(f"model/{name}") for name in "ab"] == [NOT_SERVING] * 2
    assert await checker.check("") == SERVING
    board.post_model(("a", "b"), is_ready=True)
    await passed_on(board)
    assert [await checker.check(f"model/{name}") for name in "ab"] == [SERVING] * 2


async def test_what_is_not_there_is_not_found(checker: Checker) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await checker.check("model/nothing")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watch_follows_a_model_that_is_not_there_yet(checker: Checker, board: HealthBoard) -> None:
    watch = checker.watch("model/a")
    assert await next_status(watch) == UNKNOWN
    for is_ready, expected in ((False, NOT_SERVING), (True, SERVING), (False, NOT_SERVING)):
        board.post_model(("a",), is_ready)
        assert await next_status(watch) == expected
    watch.cancel()


async def test_changes_keep_their_order(checker: Checker, board: HealthBoard) -> None:
    for number in range(50):
        board.post_model(("a",), is_ready=number % 2 == 0)
    board.post_model(("a",), is_ready=True)
    await passed_on(board)
    assert await checker.check("model/a") == SERVING


async def test_what_could_not_be_told_holds_nothing_up(
    checker: Checker, board: HealthBoard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    really_set = board._servicer.set

    async def set_most(name: str, status: Any) -> None:
        if name == "model/a":
            raise OSError("no")
        await really_set(name, status)

    monkeypatch.setattr(board._servicer, "set", set_most)
    board.post_model(("a", "b"), is_ready=True)
    await passed_on(board)
    assert await checker.check("model/b") == SERVING
    assert "model/a" in caplog.text
    await asyncio.wait_for(board.close(), PATIENCE_SECONDS)


async def test_a_board_can_be_closed_whatever_became_of_its_writer(board: HealthBoard, address: str) -> None:
    assert board._writer is not None
    board._writer.cancel()
    board.post_process(is_serving=True)
    await asyncio.wait_for(board.close(), PATIENCE_SECONDS)


async def test_a_board_that_was_never_attached_can_be_closed() -> None:
    board = HealthBoard(SERVICE_NAMES)
    board.post_process(is_serving=True)
    await asyncio.wait_for(board.close(), PATIENCE_SECONDS)


async def test_closing_passes_on_what_was_posted_last(checker: Checker, board: HealthBoard) -> None:
    watch = checker.watch("")
    assert await next_status(watch) == SERVING
    board.post_process(is_serving=False)
    await board.close()
    assert await next_status(watch) == NOT_SERVING
    watch.cancel()
