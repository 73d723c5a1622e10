"""grpc.health.v1 over a real socket: the process, its services, its models, and who watches them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from waiting import until

from llamawire_server.rpc import health
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


async def next_status(watch: Any) -> int:
    return (await asyncio.wait_for(watch.read(), PATIENCE_SECONDS)).status


async def test_the_process_and_all_its_services_are_told_together(
    checker: Checker, board: HealthBoard
) -> None:
    assert len(SERVICE_NAMES) >= 3
    for is_serving, expected in ((True, SERVING), (False, NOT_SERVING)):
        board.post_process(is_serving)
        assert {await checker.check(name) for name in ("", *SERVICE_NAMES)} == {expected}


async def test_nothing_serves_before_it_is_said(checker: Checker) -> None:
    assert {await checker.check(name) for name in ("", *SERVICE_NAMES)} == {NOT_SERVING}


async def test_a_model_has_no_say_in_the_process(checker: Checker, board: HealthBoard) -> None:
    board.post_process(is_serving=True)
    for is_ready, expected in ((False, NOT_SERVING), (True, SERVING)):
        board.post_model("a", is_ready)
        assert await checker.check("model/a") == expected
        assert await checker.check("") == SERVING


async def test_what_is_not_there_is_not_found(checker: Checker, board: HealthBoard) -> None:
    board.post_model("gone", is_ready=True)
    board.post_model("gone", is_ready=None)
    for name in ("model/nothing", "model/gone"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await checker.check(name)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watch_follows_a_model_that_comes_and_goes(checker: Checker, board: HealthBoard) -> None:
    watch = checker.watch("model/a")
    assert await next_status(watch) == UNKNOWN
    for is_ready, expected in ((False, NOT_SERVING), (True, SERVING), (None, UNKNOWN), (True, SERVING)):
        board.post_model("a", is_ready)
        assert await next_status(watch) == expected
    watch.cancel()


async def test_many_watch_one_model_and_those_who_leave_take_nothing_from_the_others(
    checker: Checker, board: HealthBoard
) -> None:
    watches = [checker.watch("model/a") for _ in range(8)]
    for watch in watches:
        assert await next_status(watch) == UNKNOWN
    for number, leaver in enumerate(watches[:-1]):
        leaver.cancel()
        await until(lambda left=number + 1: len(board._watchers["model/a"]) == len(watches) - left)
        board.post_model("a", is_ready=number % 2 == 0)
        for watch in watches[number + 1 :]:
            assert await next_status(watch) == (SERVING if number % 2 == 0 else NOT_SERVING)
    watches[-1].cancel()
    await until(lambda: not board._watchers)


async def test_a_watcher_who_does_not_read_holds_nobody_up_and_gets_the_latest(board: HealthBoard) -> None:
    request = health_pb2.HealthCheckRequest(service="model/a")
    slow, quick = board.Watch(request, None), board.Watch(request, None)
    assert (await anext(slow)).status == (await anext(quick)).status == UNKNOWN
    for number in range(51):
        board.post_model("a", is_ready=number % 2 == 0)
        assert (await anext(quick)).status == (SERVING if number % 2 == 0 else NOT_SERVING)
    assert (await anext(slow)).status == SERVING
    later = asyncio.create_task(anext(slow))
    await asyncio.sleep(0)
    assert not later.done()
    board.post_model("a", is_ready=False)
    assert (await later).status == NOT_SERVING
    await slow.aclose()
    await quick.aclose()


async def test_while_draining_nothing_serves_whatever_is_posted(checker: Checker, board: HealthBoard) -> None:
    watch = checker.watch("model/a")
    assert await next_status(watch) == UNKNOWN
    board.post_process(is_serving=True)
    board.post_model("a", is_ready=True)
    assert await next_status(watch) == SERVING
    board.drain()
    assert await next_status(watch) == NOT_SERVING
    board.post_model("a", is_ready=True)
    board.post_model("b", is_ready=True)
    board.post_process(is_serving=True)
    assert {await checker.check(name) for name in ("", *SERVICE_NAMES, "model/a", "model/b")} == {NOT_SERVING}
    watch.cancel()


async def test_a_board_that_was_never_attached_can_be_closed() -> None:
    board = HealthBoard(SERVICE_NAMES)
    board.post_process(is_serving=True)
    await asyncio.wait_for(board.close(), PATIENCE_SECONDS)


async def test_closing_passes_on_what_was_posted_last_and_ends_the_watch(
    checker: Checker, board: HealthBoard
) -> None:
    board.post_process(is_serving=True)
    watches = [checker.watch(name) for name in ("", "", "model/a")]
    assert [await next_status(watch) for watch in watches] == [SERVING, SERVING, UNKNOWN]
    board.drain()
    await board.close()
    assert [await next_status(watch) for watch in watches[:2]] == [NOT_SERVING] * 2
    for watch in watches:
        assert await asyncio.wait_for(watch.read(), PATIENCE_SECONDS) is grpc.aio.EOF


async def test_closing_does_not_wait_for_who_does_not_read(
    board: HealthBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FLUSH_SECONDS", 0.01)
    stuck = board.Watch(health_pb2.HealthCheckRequest(service=""), None)
    await anext(stuck)
    await asyncio.wait_for(board.close(), PATIENCE_SECONDS)
    await stuck.aclose()
