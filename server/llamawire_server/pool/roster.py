"""The roster: every model that a request could name now, how each stands, and everybody who watches that."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llamawire_server.errors import Condition, ServiceError
from llamawire_server.models.names import forms, normalize
from llamawire_server.models.resolver import ModelEntry, Resolver
from llamawire_server.pool.pool import ModelStatus, Pool, State

log = logging.getLogger(__name__)

# Nobody is told of mere progress more often than so: what is sent already can't be taken back, and a slow reader
# would get that of loads that were over long ago.
PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class ModelView:
    """A model as it stands now."""

    entry: ModelEntry
    status: ModelStatus | None
    """Where it is in the pool; None where it is not."""

    failure: str | None
    """Why its last load failed, or its worker died; None where it did not."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of its names, the one that answers carry first."""
        return (self.entry.name, *self.entry.aliases)

    @property
    def is_loading(self) -> bool:
        """Whether the next news of it is likely to be its progress."""
        return self.status is not None and self.status.state is State.LOADING

    def is_news_after(self, other: ModelView | None) -> bool:
        """Whether there is more to tell than how many requests there are."""
        if other is None or (self.entry, self.failure) != (other.entry, other.failure):
            return True
        if self.status is None:
            return other.status is not None
        return self.status.is_news_after(other.status)


@dataclass(frozen=True)
class News:
    """What a watcher has not been told yet."""

    models: tuple[ModelView, ...]
    """The models that are new or changed, as they stand now, by name."""

    removed: tuple[str, ...]
    """Names that models had when they were told of, and that none has now."""


class Roster:
    """Looks at the files again and again, and puts together what they and the pool say. For one event loop.

    A model whose file nothing leads to any more is listed for as long as the pool has it, under those of its names
    that have not become another model's.
    """

    def __init__(
        self,
        resolver: Resolver,
        pool: Pool,
        on_readiness: Callable[[str, bool | None], None],
        poll_seconds: float,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """on_readiness: told of every name whether its model answers without being loaded first, and of a name that
        has no model any more None.
        """
        self._resolver = resolver
        self._pool = pool
        self._on_readiness = on_readiness
        self._poll_seconds = poll_seconds
        self._pause_seconds = pause_seconds
        self._entries: dict[Path, ModelEntry] = {}
        self._num_changes = 0
        self._listed: dict[Path, ModelView] = {}
        self._readiness: dict[str, bool] = {}
        self._watchers: set[_Watcher] = set()
        self._poll: asyncio.Task[None] | None = None
        """The look at the files that has begun."""
        self._next_poll: asyncio.Task[None] | None = None
        """The one after it, which all share who ask in the meantime."""
        self._polling: asyncio.Task[None] | None = None
        self._is_closed = False

    async def start(self) -> None:
        """Look at the files, and do so again every `poll_seconds` from now on."""
        await self.refresh()
        self._polling = asyncio.create_task(self._keep_looking(), name="roster")

    async def close(self) -> None:
        """Look no more, and end everybody's watch. What is listed is so still."""
        self._is_closed = True
        for watcher in self._watchers:
            watcher.news.set()
            watcher.more_than_progress.set()
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait({self._polling})

    async def refresh(self) -> None:
        """Look at the files now. No two looks overlap."""
        if self._next_poll is None:
            self._next_poll = asyncio.create_task(self._look(after=self._poll))
            self._next_poll.add_done_callback(_retrieve_exception)
        # Shared: one who leaves does not end it for the others.
        await asyncio.shield(self._next_poll)

    def note(self, status: ModelStatus) -> None:
        """A model stands otherwise in the pool."""
        self._update()

    def models(self) -> list[ModelView]:
        """Every model, by name."""
        return sorted(self._list().values(), key=lambda view: view.entry.name)

    def find(self, name: str) -> ModelView | None:
        """The model that is listed with exactly this name."""
        wanted = normalize(name)
        return next((view for view in self._list().values() if wanted in view.names), None)

    def view(self, entry: ModelEntry) -> ModelView:
        """How a model stands that a name has just led to, whether it is listed already or not."""
        status = self._pool.statuses().get(entry.path)
        return ModelView(entry, status, self._pool.failure(entry.path))

    async def watch(self, names: Sequence[str] = ()) -> AsyncGenerator[News, None]:
        """All models with these names, or simply all, as they stand now; then what becomes of them.

        A name that no model has yet is waited for. Whoever is slower than the changes gets the latest of each model.
        Raises ServiceError when the roster is closed.
        """
        if not self._is_closed:
            await self.refresh()
        watcher = _Watcher(names, dirty=set(self._listed))
        self._watchers.add(watcher)
        try:
            is_first = True
            while not self._is_closed:
                watcher.news.clear()
                watcher.more_than_progress.clear()
                while watcher.names and watcher.num_changes_seen != self._num_changes:
                    num_changes = self._num_changes
                    watcher.follow(*await asyncio.to_thread(self._resolve, watcher.names))
                    watcher.num_changes_seen = num_changes
                news = watcher.take(self._listed, self._pool)
                if is_first or news.models or news.removed:
                    yield news
                    if not news.removed and all(view.is_loading for view in news.models):
                        with contextlib.suppress(asyncio.TimeoutError):
                            await asyncio.wait_for(watcher.more_than_progress.wait(), self._pause_seconds)
                is_first = False
                await watcher.news.wait()
        finally:
            self._watchers.discard(watcher)
        raise ServiceError(Condition.NOT_READY, "DRAINING", "the server is shutting down")

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self.refresh()
            except Exception:
                log.exception("the models could not be looked at")

    async def _look(self, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait({after})
        self._poll, self._next_poll = self._next_poll, None
        loaded = [self._entries[path] for path in self._pool.statuses() if path in self._entries]
        entries = await asyncio.to_thread(self._resolver.entries, loaded)
        found = {entry.path: entry for entry in entries}
        if found != self._entries or not self._num_changes:
            self._entries = found
            self._num_changes += 1
            self._pool.renew(entries)
            self._update()

    def _update(self) -> None:
        """Tell everybody of what is listed otherwise than before."""
        before, self._listed = self._listed, self._list()
        changed = {path for path, view in self._listed.items() if view.is_news_after(before.get(path))}
        changed |= before.keys() - self._listed.keys()
        if changed:
            self._tell_readiness()
            for watcher in self._watchers:
                watcher.note(changed, self._listed)

    def _tell_readiness(self) -> None:
        readiness = {
            name: view.status is not None and view.status.state is State.READY
            for view in self._listed.values()
            for name in view.names
        }
        before, self._readiness = self._readiness, readiness
        for name in before.keys() - readiness.keys():
            self._on_readiness(name, None)
        for name, is_ready in readiness.items():
            if before.get(name) is not is_ready:
                self._on_readiness(name, is_ready)

    def _list(self) -> dict[Path, ModelView]:
        """Every model as it stands now; no two have a name in common."""
        statuses = self._pool.statuses()
        listed = {
            path: ModelView(entry, statuses.get(path), self._pool.failure(path))
            for path, entry in self._entries.items()
        }
        taken: set[str] | None = None
        for path, status in statuses.items():
            if path in listed:
                continue
            if taken is None:
                taken = {name for view in listed.values() for name in view.names}
            names = [name for name in (status.entry.name, *status.entry.aliases) if name not in taken]
            if names:
                taken.update(names)
                entry = dataclasses.replace(status.entry, name=names[0], aliases=tuple(names[1:]))
                listed[path] = ModelView(entry, status, self._pool.failure(path))
        return listed

    def _resolve(self, names: Collection[str]) -> tuple[set[Path], set[str]]:
        """The files that names lead to, and what else to look for where they lead to none that can be read."""
        paths: set[Path] = set()
        others: set[str] = set()
        for name in names:
            try:
                paths.add(self._resolver.resolve(name).path)
            except ServiceError:
                others.update(forms(name))
        return paths, others


@dataclass(eq=False)
class _Watcher:
    """What one watcher is still to be told. However slow it is, that is no more than the models that there are."""

    names: Sequence[str]
    """Those whose models it watches. None: all."""

    dirty: set[Path]
    told: dict[Path, str] = field(default_factory=dict)
    """The names by which it knows models."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    more_than_progress: asyncio.Event = field(default_factory=asyncio.Event)
    num_changes_seen: int = -1
    _paths: set[Path] = field(default_factory=set)
    _names: set[str] = field(default_factory=set)

    def follow(self, paths: set[Path], names: set[str]) -> None:
        """Watch the models with these files, or one of these names."""
        if (paths, names) != (self._paths, self._names):
            self.dirty |= paths | self._paths | self.told.keys()
            self._paths, self._names = paths, names

    def note(self, changed: Collection[Path], listed: Mapping[Path, ModelView]) -> None:
        """Other things are to be told of these models. What came and went untold is none of them."""
        self.dirty.update(changed)
        self.dirty -= {path for path in changed if path not in listed and path not in self.told}
        self.news.set()
        if not all(path in listed and listed[path].is_loading for path in changed):
            self.more_than_progress.set()

    def take(self, listed: Mapping[Path, ModelView], pool: Pool) -> News:
        """All that it is to be told now."""
        statuses = pool.statuses()
        models, removed = [], set()
        for path in self.dirty:
            view = listed.get(path)
            name_before = self.told.pop(path, None)
            if view is not None and self._watches(view):
                self.told[path] = view.entry.name
                # How many requests there are is as of now, too.
                models.append(ModelView(view.entry, statuses.get(path), pool.failure(path)))
            if name_before is not None and name_before != self.told.get(path):
                removed.add(name_before)
        self.dirty.clear()
        if removed:
            removed.difference_update(self.told.values())
        return News(tuple(sorted(models, key=lambda view: view.entry.name)), tuple(sorted(removed)))

    def _watches(self, view: ModelView) -> bool:
        return not self.names or view.entry.path in self._paths or not self._names.isdisjoint(view.names)


def _retrieve_exception(poll: asyncio.Task[None]) -> None:
    """All who waited for it may have left; asyncio would complain."""
    with contextlib.suppress(asyncio.CancelledError):
        poll.exception()
