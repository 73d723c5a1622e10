"""A service that forwards to another server, against a real gRPC server in this process."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from grpc_health.v1 import health_pb2
from remote_fakes import CALL, REQUEST
from waiting import PATIENCE_SECONDS

from llamawire.v1 import chat_pb2, embedding_pb2, model_pb2, tokenizer_pb2
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.service.interface import Call


@pytest.mark.parametrize(
    ("method", "request_message", "expected"),
    [
        ("create_chat_completion", REQUEST, chat_pb2.ChatCompletion(id="a", model="smollm2")),
        (
            "list_models",
            model_pb2.ListModelsRequest(),
            model_pb2.ListModelsResponse(models=[model_pb2.Model(name="smollm2")]),
        ),
        (
            "get_model",
            model_pb2.GetModelRequest(name="tiny"),
            model_pb2.GetModelResponse(model=model_pb2.Model(name="tiny")),
        ),
        (
            "create_embeddings",
            embedding_pb2.CreateEmbeddingsRequest(model="a"),
            embedding_pb2.CreateEmbeddingsResponse(model="a"),
        ),
        (
            "unload_model",
            model_pb2.UnloadModelRequest(name="tiny", cancel_running=True),
            model_pb2.UnloadModelResponse(model=model_pb2.Model(name="tiny")),
        ),
        (
            "tokenize",
            tokenizer_pb2.TokenizeRequest(text="Hi"),
            tokenizer_pb2.TokenizeResponse(tokens=[1, 2]),
        ),
        (
            "detokenize",
            tokenizer_pb2.DetokenizeRequest(tokens=[1, 2]),
            tokenizer_pb2.DetokenizeResponse(text="Hi"),
        ),
        (
            "count_chat_tokens",
            tokenizer_pb2.CountChatTokensRequest(request=REQUEST),
            tokenizer_pb2.CountChatTokensResponse(prompt_tokens=7),
        ),
        (
            "apply_chat_template",
            tokenizer_pb2.ApplyChatTemplateRequest(request=REQUEST),
            tokenizer_pb2.ApplyChatTemplateResponse(prompt="Hi", tokens=[1]),
        ),
    ],
)
async def test_a_call_is_forwarded(remote, servicer, method, request_message, expected):
    assert await getattr(remote, method)(request_message, CALL) == expected
    assert servicer.request == request_message
    assert servicer.metadata["x-request-id"] == "call-1"
    assert servicer.metadata["traceparent"] == "00-1-2-01"
    assert 0 < servicer.seconds_left < 31  # gRPC rounds it up


@pytest.mark.parametrize(
    ("method", "request_message", "expected"),
    [
        (
            "stream_chat_completion",
            REQUEST,
            [chat_pb2.ChatCompletionChunk(id=f"{index}") for index in range(3)],
        ),
        (
            "load_model",
            model_pb2.LoadModelRequest(name="tiny"),
            [model_pb2.LoadModelResponse(model=model_pb2.Model(name=f"{index}")) for index in range(3)],
        ),
        (
            "watch_models",
            model_pb2.WatchModelsRequest(names=["tiny"]),
            [model_pb2.WatchModelsResponse(removed=[f"{index}"]) for index in range(3)],
        ),
    ],
)
async def test_a_stream_is_forwarded(remote, servicer, method, request_message, expected):
    async with aclosing(getattr(remote, method)(request_message, CALL)) as responses:
        assert [response async for response in responses] == expected
    assert servicer.request == request_message
    assert servicer.metadata["x-request-id"] == "call-1"
    assert 0 < servicer.seconds_left < 31  # gRPC rounds it up


async def test_no_deadline_is_made_up(remote, servicer):
    await remote.create_chat_completion(REQUEST, Call("call-2"))
    assert servicer.seconds_left is None or servicer.seconds_left > 1e6


async def test_a_deadline_that_passes(remote, servicer):
    servicer.hangs = True
    with pytest.raises(ServiceError) as caught:
        await remote.create_chat_completion(REQUEST, Call("call-1", timeout_seconds=0.05))
    assert caught.value.condition is Condition.DEADLINE


async def test_a_cancelled_call_is_cancelled_over_there(remote, servicer):
    servicer.hangs = True
    working = asyncio.create_task(remote.create_chat_completion(REQUEST, CALL))
    await asyncio.wait_for(servicer.began.wait(), PATIENCE_SECONDS)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await asyncio.wait_for(servicer.ended.wait(), PATIENCE_SECONDS)


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_stream_that_is_given_up_is_cancelled_over_there(remote, servicer, waiting):
    servicer.hangs = True
    chunks = remote.stream_chat_completion(REQUEST, CALL)
    assert [(await anext(chunks)).id for _ in range(servicer.num_chunks)] == ["0", "1", "2"]
    await asyncio.wait_for(servicer.began.wait(), PATIENCE_SECONDS)
    if waiting:
        pulling = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
    await chunks.aclose()
    await asyncio.wait_for(servicer.ended.wait(), PATIENCE_SECONDS)


async def test_it_serves_where_the_other_does(remote, healthy):
    serving = health_pb2.HealthCheckResponse.ServingStatus
    await healthy.set("", serving.SERVING)
    assert await remote.is_serving()
    await healthy.set("", serving.NOT_SERVING)
    assert not await remote.is_serving()
