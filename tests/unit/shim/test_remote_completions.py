"""Completions that are forwarded to another server, against a real gRPC server in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import grpc
import pytest
import pytest_asyncio
from remote_fakes import forwarding

from llamawire.v1 import completion_pb2, completion_pb2_grpc
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.service.interface import Call
from llamawire_server.shim.remote import RemoteService

CALL = Call("call-1", timeout_seconds=30.0)
REQUEST = completion_pb2.CompletionRequest(
    model="smollm2", prompt=[completion_pb2.CompletionPrompt(text="x")]
)


class Servicer(completion_pb2_grpc.CompletionServiceServicer):
    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def CreateCompletion(self, request, context):  # noqa: N802
        if not request.model:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no model")
        return completion_pb2.Completion(id=dict(context.invocation_metadata())["x-request-id"], model="m")

    async def StreamCompletion(self, request, context):  # noqa: N802
        try:
            for index in range(3):
                yield completion_pb2.CompletionChunk(id=f"{index}", model=request.prompt[0].text)
            if request.echo:
                await asyncio.Event().wait()
        finally:
            self.ended.set()


@pytest.fixture
def servicer() -> Servicer:
    return Servicer()


@pytest_asyncio.fixture
async def remote(servicer: Servicer) -> AsyncIterator[RemoteService]:
    add_to = partial(completion_pb2_grpc.add_CompletionServiceServicer_to_server, servicer)
    async with forwarding(add_to) as remote:
        yield remote


async def test_a_whole_one(remote: RemoteService) -> None:
    answer = await remote.create_completion(REQUEST, CALL)
    assert (answer.id, answer.model) == ("call-1", "m")


async def test_a_bad_one(remote: RemoteService) -> None:
    with pytest.raises(ServiceError, match="no model") as caught:
        await remote.create_completion(completion_pb2.CompletionRequest(), CALL)
    assert caught.value.condition is Condition.INVALID


async def test_a_stream(remote: RemoteService) -> None:
    chunks = [chunk async for chunk in remote.stream_completion(REQUEST, CALL)]
    assert [(chunk.id, chunk.model) for chunk in chunks] == [("0", "x"), ("1", "x"), ("2", "x")]


async def test_leaving_a_stream_ends_it_there(remote: RemoteService, servicer: Servicer) -> None:
    endless = completion_pb2.CompletionRequest()
    endless.CopyFrom(REQUEST)
    endless.echo = True
    async with aclosing(remote.stream_completion(endless, CALL)) as chunks:
        await anext(chunks)
    await asyncio.wait_for(servicer.ended.wait(), 10)
