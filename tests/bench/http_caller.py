"""Streams over HTTP, a connection each, from any server that speaks OpenAI's API.

A plain socket: an HTTP library would cost more than what is measured. It takes for granted that an event does not
cross the border of two HTTP chunks, which holds for all servers here.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from bench.asks import END_TOKENS, Ask
from bench.streams import Caller, NoAnswerError, Stream, Usage

_EVENT = b"data: {"
_MOST_TEXT_OF_ERRORS = 500


def http_caller(host: str, port: int) -> Caller:
    """Calls to the server at this address."""

    async def call(asked: Ask, stream: Stream) -> None:
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            raise NoAnswerError(str(error)) from error
        try:
            writer.write(_request(host, asked))
            await _read(reader, stream)
        except OSError as error:
            raise NoAnswerError(str(error)) from error
        finally:
            writer.close()

    return call


async def _read(reader: asyncio.StreamReader, stream: Stream) -> None:
    status = await reader.readline()
    if b" 200 " not in status:
        body = await reader.read()
        raise NoAnswerError((status + body).decode(errors="replace")[:_MOST_TEXT_OF_ERRORS])
    async for line in reader:
        if line.startswith(_EVENT):
            _take(json.loads(line[6:]), stream)


def _take(event: dict[str, Any], stream: Stream) -> None:
    if "error" in event:
        raise NoAnswerError(str(event["error"]))
    for choice in event["choices"]:
        if text := choice["delta"].get("content"):
            stream.take(text)
    if usage := event.get("usage"):
        stream.usage = usage_of(usage)


def usage_of(usage: dict[str, Any]) -> Usage:
    """OpenAI's `usage`, of which not every server fills in all."""
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Usage(
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
        prompt.get("cached_tokens") or 0,
        completion.get("accepted_prediction_tokens") or 0,
    )


def body_of(asked: Ask) -> dict[str, Any]:
    """An ask in OpenAI's words."""
    body: dict[str, Any] = {
        "model": asked.model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in asked.turns],
        "temperature": 0,
        "max_tokens": asked.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if asked.goes_on:
        body["logit_bias"] = {str(token): -100 for token in END_TOKENS}
    if asked.prediction is not None:
        body["prediction"] = {"type": "content", "content": asked.prediction}
    return body


def _request(host: str, asked: Ask) -> bytes:
    body = json.dumps(body_of(asked)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
