"""What tests ask with the Python client, and what they wait for."""

from __future__ import annotations

from typing import Any

from servers import RunningServer

from llamawire import (
    AsyncStreamHandler,
    ChatStream,
    Completion,
    LlamawireError,
    StreamHandler,
    user,
)

STORY: dict[str, Any] = {
    "model": "smollm2",
    "messages": [user("Write a story about a fox.")],
    "temperature": 0,
    "max_tokens": 12,
}
LONG: dict[str, Any] = {**STORY, "max_tokens": 4000, "stop": "\x00"}


def is_idle(server: RunningServer) -> bool:
    """Whether nobody uses the model."""
    return server.model().active_requests == 0


def read_some(stream: ChatStream) -> None:
    """Read until there is text."""
    while not next(stream).text:
        pass


class Teller(StreamHandler):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.text = ""
        self.completion: Completion | None = None
        self.error: LlamawireError | None = None

    def on_start(self) -> None:
        self.told.append("start")

    def on_token(self, text: str, choice_index: int) -> None:
        assert choice_index == 0
        self.text += text

    def on_complete(self, completion: Completion) -> None:
        self.told.append("complete")
        self.completion = completion

    def on_error(self, error: LlamawireError) -> None:
        self.told.append("error")
        self.error = error


class AsyncTeller(AsyncStreamHandler):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.notes = Teller()

    async def on_start(self) -> None:
        self.notes.on_start()

    async def on_token(self, text: str, choice_index: int) -> None:
        self.notes.on_token(text, choice_index)

    async def on_complete(self, completion: Completion) -> None:
        self.notes.on_complete(completion)

    async def on_error(self, error: LlamawireError) -> None:
        self.notes.on_error(error)
