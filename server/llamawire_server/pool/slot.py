"""A model's place in the pool: what is known of it there, and how others are told when that changes."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from llamawire_server.errors import ServiceError
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.turnover import Turnover

if TYPE_CHECKING:
    from llamawire_server.worker.parent.supervisor import Supervisor


class State(Enum):
    """Where a model stands, as callers are told."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    FAILED = "failed"


class Stage(Enum):
    """Where a slot is on its way through memory."""

    IN_LINE = "in line"
    """It waits for room."""
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    """Its worker died and is started again; its leases hold on."""
    ENDING = "ending"
    """Its worker is being ended, or its load; it takes up memory still."""
    GONE = "gone"


_STATES = {
    Stage.IN_LINE: State.LOADING,
    Stage.STARTING: State.LOADING,
    Stage.READY: State.READY,
    Stage.RESTARTING: State.LOADING,
    Stage.ENDING: State.UNLOADING,
    Stage.GONE: State.UNLOADED,
}


class Bell:
    """Wakes everybody who waits for it at the time."""

    def __init__(self) -> None:
        self._rung: asyncio.Future[None] | None = None

    def ring(self) -> None:
        if self._rung is not None:
            self._rung.set_result(None)
            self._rung = None

    async def wait(self, timeout_seconds: float | None) -> bool:
        """Until it rings; False where it didn't in that time."""
        if self._rung is None:
            self._rung = asyncio.get_running_loop().create_future()
        # One future for all: who is cancelled or runs out of time leaves it to the others.
        done, _ = await asyncio.wait({self._rung}, timeout=timeout_seconds)
        return bool(done)


@dataclass(eq=False)
class Slot:
    """A model that is loaded, or on its way in or out."""

    entry: ModelEntry
    need_bytes: int
    """What its load is expected to take."""

    stage: Stage = Stage.IN_LINE
    is_outgoing: bool = False
    """Whether its names don't lead to it any more; it ends with its last lease."""

    load_progress: float = 0.0
    detail: str = ""
    """Why it is not ready."""

    fingerprint: str = ""
    worker: Supervisor | None = None
    load: asyncio.Task[None] | None = None
    """It is the pool's own, not that of the request that began it."""

    error: ServiceError | None = None
    """What is said to those who wait for it in vain."""

    num_leases: int = 0
    """Requests that hold it, or wait for it."""
    num_loaders: int = 0
    """Callers who only want it to be loaded, and wait for that."""

    turnover: Turnover = field(default_factory=Turnover)
    """How fast its line moves."""

    names: set[str] = field(default_factory=set)
    """Every name under which it was asked for, normalised."""

    last_use: int = 0
    """Larger than that of any slot that was used before."""
    ready_at: float = 0.0
    """When it was loaded, by time.monotonic."""
    wanted_until: float = 0.0
    """Until when somebody who was sent away may come back for it, by time.monotonic."""
    timer: asyncio.TimerHandle | None = None
    """After which it goes where nobody uses it."""

    is_down: bool = False
    """Whether its worker is dead at the moment."""
    end_cause: str | None = None
    """Why its worker was given up; None where it was not."""

    moves: Bell = field(default_factory=Bell)
    """Rings at every change of its stage."""
    news: Bell = field(default_factory=Bell)
    """Rings at every change of its status."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses it or waits for it."""
        return not (self.num_leases or self.num_loaders)

    @property
    def is_loaded(self) -> bool:
        """Whether it has a worker that serves, if only after a restart."""
        return self.stage in (Stage.READY, Stage.RESTARTING)

    @property
    def has_ended(self) -> bool:
        """Whether it serves nobody any more, and will not."""
        return self.stage in (Stage.ENDING, Stage.GONE)

    @property
    def is_pinned(self) -> bool:
        """Whether it stays. What its names don't lead to any more does not."""
        return self.entry.settings.pinned and not self.is_outgoing

    def move(self, stage: Stage) -> None:
        """Enter a stage."""
        self.stage = stage
        self.moves.ring()

    def cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def status(self, failure: str = "") -> ModelStatus:
        """The slot as it stands, for those who hold on to it."""
        return ModelStatus(
            entry=self.entry,
            state=_STATES[self.stage],
            load_progress=self.load_progress,
            num_requests=self.num_leases,
            worker=self.worker,
            detail=self.detail,
            failure=failure,
        )


@dataclass(frozen=True)
class ModelStatus:
    """A model as it stands now."""

    entry: ModelEntry
    state: State
    load_progress: float = 0.0
    num_requests: int = 0
    worker: Supervisor | None = None
    detail: str = ""
    """Why it does not stand where it should: what its load waits for, why its worker is started again."""
    failure: str = ""
    """Why its last load failed, or its worker died."""

    def is_news_after(self, other: ModelStatus | None) -> bool:
        """Whether there is more to tell than how many requests there are."""
        return other is None or dataclasses.replace(self, num_requests=other.num_requests) != other


@dataclass(frozen=True)
class Lease:
    """A request's hold on a loaded model: while it lasts, the model is not unloaded."""

    entry: ModelEntry
    worker: Supervisor
    system_fingerprint: str
    waited_seconds: float
    """How long the request waited for the model to be loaded."""
