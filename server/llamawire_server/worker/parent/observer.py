"""What the pool is told of a worker that is looked after by a `Supervisor`."""

from __future__ import annotations

from typing import Protocol


class WorkerObserver(Protocol):
    """Told how a worker fares, on the event loop."""

    def note_progress(self, share: float) -> None:
        """So much of the model is loaded, in [0, 1]; from 0 again where the worker is started again."""
        ...

    def note_death(self, cause: str, pause_seconds: float) -> None:
        """The worker ended by itself, after it had been ready; it is started again after a pause."""
        ...

    def note_memory(self, memory_bytes: int) -> None:
        """The worker has so much in memory by now, which is more than before, or less."""
        ...

    def note_ready(self) -> None:
        """The worker answers again, after a death."""
        ...

    def note_end(self, cause: str) -> None:
        """The worker died too often and is given up. It answers nothing any more, and need not be stopped."""
        ...
