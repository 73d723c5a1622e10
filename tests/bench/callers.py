"""Callers of the service: streams over gRPC and over HTTP, with as little work of their own as possible.

They run in one process and on one thread, beside the server on the same cores: what they cost counts against it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc.aio

from llamawire.v1 import chat_pb2, chat_pb2_grpc

MODEL = "smollm2"


@dataclass(frozen=True)
class Stream:
    """One answer: when its chunks with text came, in seconds since the start of the run, and what was counted."""

    chunk_times: list[float]
    prompt_tokens: int
    completion_tokens: int


Caller = Callable[[str, int, float], Awaitable[Stream]]


async def run_together(call: Caller, prompts: Sequence[str], num_tokens: int) -> list[Stream]:
    """All prompts at once."""
    begin = time.perf_counter()
    return await asyncio.gather(*(call(prompt, num_tokens, begin) for prompt in prompts))


def grpc_caller(channel: grpc.aio.Channel) -> Caller:
    """Streams over one channel."""
    stub = chat_pb2_grpc.ChatServiceStub(channel)  # type: ignore[no-untyped-call]

    async def call(prompt: str, num_tokens: int, begin: float) -> Stream:
        request = chat_pb2.ChatCompletionRequest(
            model=MODEL,
            messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt)],
            temperature=0,
            max_tokens=num_tokens,
        )
        times: list[float] = []
        chunk = chat_pb2.ChatCompletionChunk()
        async for chunk in stub.StreamChatCompletion(request):
            if any(choice.delta.content for choice in chunk.choices):
                times.append(time.perf_counter() - begin)
        return Stream(times, chunk.usage.prompt_tokens, chunk.usage.completion_tokens)

    return call


def http_caller(host: str, port: int) -> Caller:
    """Streams over one connection each. A plain socket: an HTTP library would cost more than what is measured."""

    async def call(prompt: str, num_tokens: int, begin: float) -> Stream:
        body = json.dumps(
            {
                "model": MODEL,
                "messages": [{"role": "user", "content": prompt}],
                "temperature": 0,
                "max_tokens": num_tokens,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()
        reader, writer = await asyncio.open_connection(host, port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        times: list[float] = []
        usage: dict[str, int] = {}
        async for line in reader:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if any(choice["delta"].get("content") for choice in event["choices"]):
                times.append(time.perf_counter() - begin)
            usage = event.get("usage") or usage
        writer.close()
        await writer.wait_closed()
        return Stream(times, usage["prompt_tokens"], usage["completion_tokens"])

    return call
