"""Streams that are read by threads of their own, over gRPC and over HTTP, while a test does something else."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, TypeVar

import grpc
import httpx
import openai
from callers import wait_until
from servers import RunningServer

from llamawire.v1 import chat_pb2

T = TypeVar("T")

_FINISH_REASONS = {
    chat_pb2.FINISH_REASON_UNSPECIFIED: "",
    chat_pb2.FINISH_REASON_STOP: "stop",
    chat_pb2.FINISH_REASON_LENGTH: "length",
}


@dataclass
class Piece:
    """A chunk, whichever way it came."""

    id: str
    texts: dict[int, str]
    """By choice."""

    finish_reasons: dict[int, str]
    usage: tuple[int, int] | None
    """Tokens of the prompt, and of the answer."""


@dataclass
class Answer:
    """What a stream said from its beginning to its end."""

    texts: dict[int, str] = field(default_factory=dict)
    """By choice."""

    finish_reasons: dict[int, str] = field(default_factory=dict)
    usage: tuple[int, int] | None = None


class Reader:
    """Reads a stream to its end in a thread of its own."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.num_pieces = 0
        """Those with text."""
        self.is_over = False
        self._answer = Answer()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, args=(pieces,), daemon=True)
        self._thread.start()

    def answer(self) -> Answer:
        """All that the stream said. Raises what it failed with."""
        wait_until(lambda: self.is_over)
        if self._error is not None:
            raise self._error
        return self._answer

    def _read(self, pieces: Iterable[Piece]) -> None:
        try:
            self._add_up(pieces)
        except BaseException as error:
            self._error = error
        finally:
            self.is_over = True

    def _add_up(self, pieces: Iterable[Piece]) -> None:
        answer, ids = self._answer, set()
        for piece in pieces:
            ids.add(piece.id)
            for index, text in piece.texts.items():
                assert index not in answer.finish_reasons or not text, "a choice that has ended went on"
                answer.texts[index] = answer.texts.get(index, "") + text
            self.num_pieces += any(piece.texts.values())
            for index, reason in piece.finish_reasons.items():
                assert index not in answer.finish_reasons, "a choice ended twice"
                answer.finish_reasons[index] = reason
            if piece.usage is not None:
                assert answer.usage is None, "the usage came twice"
                answer.usage = piece.usage
        assert len(ids) == 1, "one answer has one name"


class Log(Generic[T]):
    """What a call that never ends by itself says, noted by a thread of its own until the test is done with it."""

    def __init__(self, call: Any, describe: Callable[[Any], T]) -> None:
        """call: a response stream of gRPC. describe: what to note of a response."""
        self.entries: list[T] = []
        self._call = call
        self._describe = describe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for response in self._call:
                self.entries.append(self._describe(response))

    def __enter__(self) -> Log[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()
        self._thread.join()


def over_grpc(server: RunningServer, request: chat_pb2.ChatCompletionRequest) -> Iterator[Piece]:
    """The answer as the contract has it."""
    for chunk in server.chat.StreamChatCompletion(request):
        usage = (
            (chunk.usage.prompt_tokens, chunk.usage.completion_tokens) if chunk.HasField("usage") else None
        )
        reasons = {choice.index: _FINISH_REASONS[choice.finish_reason] for choice in chunk.choices}
        yield Piece(
            chunk.id,
            {choice.index: choice.delta.content for choice in chunk.choices},
            {index: reason for index, reason in reasons.items() if reason},
            usage,
        )


def over_http(server: RunningServer, body: dict[str, Any]) -> Iterator[Piece]:
    """The answer as server-sent events, read as they come."""
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    with (
        httpx.Client(base_url=server.base_url, timeout=60, trust_env=False) as client,
        client.stream("POST", "/chat/completions", json=asked) as response,
    ):
        assert response.status_code == 200, response.read()
        is_done = False
        for line in filter(None, response.iter_lines()):
            assert not is_done, "something came after the end"
            data = line.removeprefix("data: ")
            is_done = data == "[DONE]"
            if not is_done:
                chunk = json.loads(data)
                assert "error" not in chunk, chunk
                yield _piece(chunk)
        assert is_done


def over_sdk(server: RunningServer, body: dict[str, Any]) -> Iterator[Piece]:
    """The answer as OpenAI's own SDK gives it."""
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    with (
        openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0, timeout=60) as client,
        client.chat.completions.create(**asked) as stream,
    ):
        for chunk in stream:
            yield _piece(chunk.model_dump())


def _piece(chunk: dict[str, Any]) -> Piece:
    choices, usage = chunk["choices"], chunk.get("usage")
    return Piece(
        chunk["id"],
        {choice["index"]: choice["delta"].get("content") or "" for choice in choices},
        {choice["index"]: choice["finish_reason"] for choice in choices if choice["finish_reason"]},
        (usage["prompt_tokens"], usage["completion_tokens"]) if usage else None,
    )
