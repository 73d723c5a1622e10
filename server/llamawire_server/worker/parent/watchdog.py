"""Workers that hang: found by what they don't do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from llamawire_server.worker.parent.death import Death

# How often a watch looks in the time that it allows. A server that was itself held up looks late once, and not many
# times: what its workers said meanwhile is read before the next look.
LOOKS = 10

# A step may take so many times as long as the longest so far, or as the fewest tokens of a prompt that a step takes,
# where that is more than what the settings allow: large models on slow machines take their time.
LONGEST_STEPS = 5
STEP_TOKENS = 64


class StepWatch:
    """Watches a worker that answers requests: while it has work, it says something now and then."""

    def __init__(
        self,
        hang_seconds: float,
        token_seconds: float,
        has_work: Callable[[], bool],
        step_tokens: int = 0,
    ) -> None:
        """token_seconds: how long the worker computes a token by itself. step_tokens: how many a step may have to
        compute, where that is more than other workers' steps do."""
        self.finding: Death | None = None
        """Of a worker that was found hanging."""
        self._hang_seconds = hang_seconds
        self._has_work = has_work
        self._num_silent_looks = 0
        # In looks, as everything that is compared with it.
        self._longest_silence = 0.0
        step_seconds = max(STEP_TOKENS, step_tokens) * token_seconds
        self._allowed_silence = LOOKS * max(1.0, LONGEST_STEPS * step_seconds / hang_seconds)

    def note_life(self) -> None:
        """The worker said something."""
        # What was let pass once is not to be what the next is measured by, again and again.
        silence = min(self._num_silent_looks, self._allowed_silence)
        self._longest_silence = max(self._longest_silence, silence)
        self._num_silent_looks = 0

    @contextlib.contextmanager
    def over(self, pid: int, kill: Callable[[], None]) -> Iterator[None]:
        """Watch a process as long as the context lasts; `kill` is called once, where it hangs."""
        task = asyncio.create_task(self._look_now_and_then(pid, kill), name="step watch")
        try:
            yield
        finally:
            task.cancel()

    async def _look_now_and_then(self, pid: int, kill: Callable[[], None]) -> None:
        while self.finding is None:
            await asyncio.sleep(self._hang_seconds / LOOKS)
            if not self._has_work():
                self._num_silent_looks = 0
                continue
            self._num_silent_looks += 1
            self.finding = self._examine(pid)
            if self.finding is not None:
                with contextlib.suppress(ProcessLookupError):
                    kill()

    def _examine(self, pid: int) -> Death | None:
        """What is to be said of a process that was silent for so long; None while it may be at work."""
        if self._num_silent_looks > LOOKS and is_stopped(pid):
            return Death("was stopped by a signal, and killed", is_from_outside=True)
        if self._num_silent_looks > max(self._allowed_silence, LONGEST_STEPS * self._longest_silence):
            seconds = self._num_silent_looks * self._hang_seconds / LOOKS
            return Death(f"hung for {seconds:.0f} s, and was killed", is_from_outside=False)
        return None


class LoadWatch:
    """Watches a worker that loads its model, which may take any time; but one that somebody stopped never will."""

    def __init__(self, pid: int, hang_seconds: float, kill: Callable[[], None]) -> None:
        self._pid = pid
        self._hang_seconds = hang_seconds
        self._kill = kill
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.create_task(self._look_now_and_then(), name="load watch")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _look_now_and_then(self) -> None:
        num_stopped_looks = 0
        while num_stopped_looks <= LOOKS:
            await asyncio.sleep(self._hang_seconds / LOOKS)
            num_stopped_looks = num_stopped_looks + 1 if is_stopped(self._pid) else 0
        with contextlib.suppress(ProcessLookupError):
            self._kill()


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped the process. False where the system doesn't say (Linux does)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")
