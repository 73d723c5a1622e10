"""Completions over gRPC: requests and answers pass as they are, and a caller who leaves ends the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import grpc
import grpc.aio
import pytest

from llamawire.v1 import completion_pb2, completion_pb2_grpc
from llamawire_server.errors import invalid_field
from llamawire_server.rpc.health import HealthBoard
from llamawire_server.rpc.server import SERVICE_NAMES, create_server
from llamawire_server.service.interface import Call

REQUEST = completion_pb2.CompletionRequest(
    model="m", prompt=[completion_pb2.CompletionPrompt(text="x")], max_tokens=0
)


class Completions:
    """A service that says what it was asked."""

    def __init__(self) -> None:
        self.has_ended = asyncio.Event()

    async def create_completion(
        self, request: completion_pb2.CompletionRequest, call: Call
    ) -> completion_pb2.Completion:
        if request.prompt[0].text == "bad":
            raise invalid_field("prompt[0]", "is bad")
        return completion_pb2.Completion(id=call.request_id, model=request.model)

    async def stream_completion(
        self, request: completion_pb2.CompletionRequest, call: Call
    ) -> AsyncGenerator[completion_pb2.CompletionChunk, None]:
        try:
            yield completion_pb2.CompletionChunk(id=call.request_id, model=request.model)
            await asyncio.Event().wait()
        finally:
            self.has_ended.set()


@pytest.fixture
def service() -> Completions:
    return Completions()


@pytest.fixture
async def stub(service: Completions) -> AsyncIterator[completion_pb2_grpc.CompletionServiceStub]:
    board = HealthBoard(SERVICE_NAMES)
    server = create_server(service, board, 200_000)  # type: ignore[arg-type]  # all of the service that is asked
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield completion_pb2_grpc.CompletionServiceStub(channel)
    await board.close()
    await server.stop(None)


async def test_a_whole_one(stub) -> None:
    answer = await stub.CreateCompletion(REQUEST, metadata=(("x-request-id", "mine"),))
    assert (answer.id, answer.model) == ("mine", "m")


async def test_a_bad_one(stub) -> None:
    bad = completion_pb2.CompletionRequest(prompt=[completion_pb2.CompletionPrompt(text="bad")])
    with pytest.raises(grpc.aio.AioRpcError, match="is bad") as caught:
        await stub.CreateCompletion(bad)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_who_leaves_a_stream_ends_it(stub, service: Completions) -> None:
    call = stub.StreamCompletion(REQUEST, metadata=(("x-request-id", "mine"),))
    assert (await call.read()).id == "mine"
    call.cancel()
    await asyncio.wait_for(service.has_ended.wait(), 10)


def test_it_is_a_service_like_the_others() -> None:
    assert "llamawire.v1.CompletionService" in SERVICE_NAMES
