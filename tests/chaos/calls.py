"""The four ways to ask: over gRPC and over HTTP, for a stream and for a whole answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
from answers import Answer, AnswerBuilder, MalformedError, RefusedError, Usage, check_answer
from questions import Question

from llamawire import AsyncClient, LlamawireError, user
from llamawire.v1 import chat_pb2, usage_pb2

# What each status of an HTTP answer, or each type of an error in a stream, is called by gRPC.
CODES_OF_STATUSES = {
    400: "FAILED_PRECONDITION",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
CODES_OF_TYPES = {
    "rate_limit_error": "RESOURCE_EXHAUSTED",
    "cancelled": "CANCELLED",
    "inference_error": "INTERNAL",
    "model_loading": "UNAVAILABLE",
    "timeout": "DEADLINE_EXCEEDED",
}

Way = Callable[[Question, "float | None", bool], Coroutine[Any, Any, Answer]]
"""Asks a question, with a deadline in seconds or none, waiting for the model or not.

Raises RefusedError and MalformedError."""


class GrpcCalls:
    """Calls by llamawire's own client."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def stream(self, question: Question, deadline_seconds: float | None, wait: bool) -> Answer:
        """The answer, put together from its chunks."""
        builder = AnswerBuilder(question.num_choices)
        request = _proto(question, wait)
        try:
            async with self._client.chat.stream(request, timeout_seconds=deadline_seconds) as stream:
                async for chunk in stream:
                    proto = chunk.proto
                    builder.begin_chunk(proto.id)
                    for choice in proto.choices:
                        builder.add(
                            choice.index,
                            has_role=bool(choice.delta.role),
                            text=choice.delta.content,
                            finish_reason=_reason(choice.finish_reason),
                        )
                    builder.end_chunk(_usage(proto.usage) if proto.HasField("usage") else None)
        except LlamawireError as error:
            raise _refused(error) from error
        return builder.build()

    async def whole(self, question: Question, deadline_seconds: float | None, wait: bool) -> Answer:
        """The answer at once."""
        request = _proto(question, wait)
        try:
            completion = await self._client.chat.create(request, timeout_seconds=deadline_seconds)
        except LlamawireError as error:
            raise _refused(error) from error
        proto = completion.proto
        if [choice.index for choice in proto.choices] != [*range(question.num_choices)]:
            raise MalformedError(f"not {question.num_choices} choices: {proto}")
        return check_answer(
            tuple(choice.message.content for choice in proto.choices),
            tuple(_reason(choice.finish_reason) for choice in proto.choices),
            _usage(proto.usage),
        )


class HttpCalls:
    """Calls in OpenAI's form."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def stream(self, question: Question, deadline_seconds: float | None, wait: bool) -> Answer:
        """The answer, put together from its events."""
        builder = AnswerBuilder(question.num_choices)
        body = {**_body(question, wait), "stream": True, "stream_options": {"include_usage": True}}
        is_done = False
        async with self._client.stream(
            "POST", "/v1/chat/completions", **_call(body, deadline_seconds)
        ) as got:
            if got.status_code != 200:
                await got.aread()
                raise _http_refused(got)
            async for line in got.aiter_lines():
                if not line.startswith("data: "):
                    continue
                if is_done:
                    raise MalformedError("there is more after [DONE]")
                if line == "data: [DONE]":
                    is_done = True
                    continue
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    raise _error_in_stream(event["error"])
                _add_event(builder, event)
        if not is_done:
            raise MalformedError("a stream ended without [DONE] and without an error")
        return builder.build()

    async def whole(self, question: Question, deadline_seconds: float | None, wait: bool) -> Answer:
        """The answer at once."""
        call = _call(_body(question, wait), deadline_seconds)
        got = await self._client.post("/v1/chat/completions", **call)
        if got.status_code != 200:
            raise _http_refused(got)
        body = got.json()
        if [choice["index"] for choice in body["choices"]] != [*range(question.num_choices)]:
            raise MalformedError(f"not {question.num_choices} choices: {body}")
        return check_answer(
            tuple(choice["message"]["content"] for choice in body["choices"]),
            tuple(choice["finish_reason"] for choice in body["choices"]),
            _json_usage(body["usage"]),
        )


def _proto(question: Question, wait: bool) -> chat_pb2.ChatCompletionRequest:
    return chat_pb2.ChatCompletionRequest(
        model=question.model,
        messages=[user(question.content)],
        max_tokens=question.max_tokens,
        temperature=question.temperature,
        seed=question.seed,
        n=question.num_choices,
        wait_for_model=wait,
    )


def _body(question: Question, wait: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": question.model,
        "messages": [{"role": "user", "content": question.content}],
        "max_tokens": question.max_tokens,
        "temperature": question.temperature,
        "n": question.num_choices,
        "wait_for_model": wait,
    }
    return body if question.seed is None else {**body, "seed": question.seed}


def _call(body: dict[str, Any], deadline_seconds: float | None) -> dict[str, Any]:
    headers = {} if deadline_seconds is None else {"x-request-timeout-seconds": str(deadline_seconds)}
    return {"json": body, "headers": headers}


def _add_event(builder: AnswerBuilder, event: dict[str, Any]) -> None:
    builder.begin_chunk(event["id"])
    for choice in event["choices"]:
        delta = choice["delta"]
        builder.add(
            choice["index"],
            has_role="role" in delta,
            text=delta.get("content") or "",
            finish_reason=choice["finish_reason"] or "",
        )
    builder.end_chunk(_json_usage(event["usage"]) if event.get("usage") else None)


def _reason(value: chat_pb2.FinishReason.ValueType) -> str:
    if not value:
        return ""
    return chat_pb2.FinishReason.Name(value).removeprefix("FINISH_REASON_").lower()


def _usage(proto: usage_pb2.Usage) -> Usage:
    return Usage(proto.prompt_tokens, proto.completion_tokens, proto.total_tokens)


def _json_usage(usage: dict[str, Any]) -> Usage:
    return Usage(usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])


def _refused(error: LlamawireError) -> RefusedError:
    return RefusedError(error.code.name, error.reason, error.message, error.retry_after_seconds)


def _http_refused(got: httpx.Response) -> RefusedError:
    code = CODES_OF_STATUSES.get(got.status_code, str(got.status_code))
    milliseconds = got.headers.get("retry-after-ms")
    seconds = None if milliseconds is None else float(milliseconds) / 1000
    return RefusedError(code, "", got.json()["error"]["message"], seconds)


def _error_in_stream(error: dict[str, Any]) -> RefusedError:
    # A stream that has begun can't be told when to come back; whoever reads it may, at once.
    return RefusedError(CODES_OF_TYPES.get(error["type"], error["type"]), "", error["message"], 0.0)
