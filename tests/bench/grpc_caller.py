"""Streams over one gRPC channel, with as little work of the caller's own as possible."""

from __future__ import annotations

from typing import cast

import grpc.aio

from bench.asks import END_TOKENS, Ask
from bench.streams import Caller, NoAnswerError, Stream, Usage
from llamawire.v1 import chat_pb2, chat_pb2_grpc

_ROLES = {
    "system": chat_pb2.ROLE_SYSTEM,
    "user": chat_pb2.ROLE_USER,
    "assistant": chat_pb2.ROLE_ASSISTANT,
}


def grpc_caller(channel: grpc.aio.Channel) -> Caller:
    """Calls that are over when the last chunk came."""
    # The stubs' types tell two kinds apart that are one class.
    stub = cast("chat_pb2_grpc.ChatServiceAsyncStub", chat_pb2_grpc.ChatServiceStub(channel))

    async def call(asked: Ask, stream: Stream) -> None:
        chunk = chat_pb2.ChatCompletionChunk()
        try:
            async for chunk in stub.StreamChatCompletion(request_of(asked)):
                for choice in chunk.choices:
                    if choice.delta.content:
                        stream.take(choice.delta.content)
        except grpc.aio.AioRpcError as error:
            raise NoAnswerError(error.details()) from error
        usage = chunk.usage
        stream.usage = Usage(
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.prompt_cache_hit_tokens,
            usage.completion_tokens_details.accepted_prediction_tokens,
        )

    return call


def request_of(asked: Ask) -> chat_pb2.ChatCompletionRequest:
    """An ask in llamawire's own words."""
    request = chat_pb2.ChatCompletionRequest(
        model=asked.model,
        messages=[chat_pb2.Message(role=_ROLES[turn.role], content=turn.content) for turn in asked.turns],
        temperature=0,
        max_tokens=asked.max_tokens,
    )
    if asked.goes_on:
        request.logit_bias.update(dict.fromkeys(END_TOKENS, -100.0))
    if asked.prediction is not None:
        request.prediction.content = asked.prediction
    return request
