"""Workers whose child has no model, as a pool starts them, and callers who ask them."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sampling import GREEDY
from waiting import PATIENCE_SECONDS, refused

from llamawire_server.config import ModelSettings, WorkerSettings
from llamawire_server.errors import ServiceError
from llamawire_server.worker.messages import ChatPrompt, Completed, Generate, TextDelta, Tokenize, Tokens
from llamawire_server.worker.parent.supervisor import Supervisor

CHILD = Path(__file__).with_name("scripted_child.py")
POLICY = WorkerSettings(
    hang_seconds=1.0, max_restarts=6, first_pause_seconds=0.001, longest_pause_seconds=0.01
)

Children = list[asyncio.subprocess.Process]


def run_scripted_children(monkeypatch: pytest.MonkeyPatch) -> Children:
    """Let workers' processes run the scripted child. Gives those that were started, as they are."""
    started: Children = []
    create = asyncio.create_subprocess_exec

    async def create_scripted(*command: Any, **options: Any) -> asyncio.subprocess.Process:
        assert command[:3] == (sys.executable, "-m", "llamawire_server.worker.child")
        started.append(await create(sys.executable, str(CHILD), *command[3:], **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", create_scripted)
    return started


class Starter:
    """Starts workers and notes what is told of them."""

    def __init__(self) -> None:
        self.progress: list[float] = []
        self.news: list[str] = []

    async def __call__(
        self, path: str = "good", policy: WorkerSettings = POLICY, load_timeout_seconds: float = 60.0
    ) -> Supervisor:
        return await Supervisor.start(Path(path), ModelSettings(), None, self, policy, load_timeout_seconds)

    def note_progress(self, share: float) -> None:
        self.progress.append(share)

    def note_death(self, cause: str, pause_seconds: float) -> None:
        self.news.append(cause)

    def note_memory(self, memory_bytes: int) -> None:
        self.news.append(f"{memory_bytes} bytes")

    def note_ready(self) -> None:
        self.news.append("ready")

    def note_end(self, cause: str) -> None:
        self.news.append(f"end: {cause}")


async def ask(worker: Supervisor, text: str, timeout_seconds: float | None = None) -> list[int]:
    """What the child answers to a text, which tells it what to do."""
    request = Tokenize(worker.next_request_id(), text, add_special=False, parse_special=False)
    answer = worker.ask(request, Tokens, timeout_seconds)
    return (await asyncio.wait_for(answer, PATIENCE_SECONDS)).tokens


class Stream:
    """A caller who reads an answer of so many numbers."""

    def __init__(self, worker: Supervisor, command: str = "count", max_tokens: int = 30) -> None:
        self.text = ""
        self.request_id = worker.next_request_id()
        self._max_tokens = max_tokens
        request = Generate(
            request_id=self.request_id,
            arrived=time.monotonic(),
            arrived_at=time.time(),
            prompt=ChatPrompt([{"role": "user", "content": command}]),
            sampling=GREEDY,
            max_tokens=max_tokens,
            is_max_tokens_explicit=True,
            num_choices=1,
            stops=[],
            stop_token_ids=[],
        )
        self.task = asyncio.create_task(self._read(worker, request))

    @property
    def expected(self) -> str:
        """What comes where nothing is lost."""
        return "".join(f"{number} " for number in range(self._max_tokens))

    async def _read(self, worker: Supervisor, request: Generate) -> Completed:
        async for events in worker.events(request):
            for event in events:
                if isinstance(event, TextDelta):
                    self.text += event.text
                elif isinstance(event, Completed):
                    return event
        raise AssertionError("a stream ends with what it cost")

    async def whole(self) -> str:
        """All that came, once it is all."""
        completed = await asyncio.wait_for(self.task, PATIENCE_SECONDS)
        assert completed.num_completion_tokens == self._max_tokens
        return self.text

    async def error(self) -> ServiceError:
        """What the request failed with."""
        return await refused(asyncio.wait_for(self.task, PATIENCE_SECONDS))
