"""What befalls a server: workers killed and stopped, models unloaded and replaced, files that are wrong.

Which trouble comes when is drawn beforehand from the seed; whom it hits depends on who is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx
from answers import RefusedError
from calls import Way
from ledger import AFTER_EFFECT_SECONDS, HANG_EFFECT_SECONDS, Ledger
from model_files import ModelFile
from questions import Question
from servers import RunningServer

from llamawire import AsyncClient, DeadlineExceededError, LlamawireError, RequestCancelledError

# The time between two troubles, in seconds: work gets done in between.
SHORTEST_PEACE = 0.8
LONGEST_PEACE = 2.2

PATIENCE_SECONDS = 60.0

WRONG_ENTRIES = (
    "  path: {path}\n  threads: many\n",
    "  path: {path}\n  thraeds: 1\n",
    "  path: {path}\n  parallel: 0\n",
)
NO_YAML = "{path: [\n"


class Folder:
    """The models' files, their models.yaml, and the folder that models are found in."""

    def __init__(self, folder: Path, files: Sequence[ModelFile]) -> None:
        self.files = files
        self.catalog = folder / "models.yaml"
        self.found = folder / "found"
        self.found.mkdir()

    def write_catalog(self, wrong_name: str = "", wrong_entry: str = "") -> None:
        """Write models.yaml, with one wrong entry or none."""
        entries = [
            f"{file.name}:\n"
            + (
                wrong_entry.format(path=file.path)
                if file.name == wrong_name
                else f"  path: {file.path}\n  threads: 1\n  kv_cache_tokens: 4096\n  parallel: 6\n"
            )
            for file in self.files
        ]
        self.replace_catalog("".join(entries))

    def replace_catalog(self, text: str) -> None:
        """Put another models.yaml in place, at once."""
        draft = self.catalog.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self.catalog)


class Troubles:
    """Does one thing after the other to a server."""

    def __init__(
        self,
        server: RunningServer,
        client: AsyncClient,
        ask: Way,
        folder: Folder,
        ledger: Ledger,
        seed: str,
    ) -> None:
        self.pids: set[int] = set()
        """Of every worker that was ever seen."""
        self._server = server
        self._client = client
        self._ask = ask
        self._folder = folder
        self._ledger = ledger
        self._random = random.Random(seed)
        self._num_files = 0
        self._catalog_lock = asyncio.Lock()
        """Who breaks models.yaml mends it before anybody else does."""
        self._running: set[asyncio.Task[None]] = set()
        self._kinds: dict[str, tuple[int, Callable[[float], Awaitable[None]]]] = {
            "kill": (8, lambda choice: self._signal(signal.SIGKILL, choice)),
            "terminate": (1, lambda choice: self._signal(signal.SIGTERM, choice)),
            "abort": (2, lambda choice: self._signal(signal.SIGABRT, choice)),
            "fault": (2, lambda choice: self._signal(signal.SIGSEGV, choice)),
            "stop": (3, lambda choice: self._signal(signal.SIGSTOP, choice)),
            "pause": (2, self._pause),
            "unload": (3, lambda choice: self._unload(choice, cancel_running=False)),
            "unload, cancelling": (1, lambda choice: self._unload(choice, cancel_running=True)),
            "load and leave": (2, self._load_and_leave),
            "replace": (3, self._replace_file),
            "break an entry": (2, self._break_entry),
            "break models.yaml": (1, self._break_catalog),
            "bad file": (2, self._drop_bad_file),
        }

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Until then, and until all is mended."""
        names = [*self._kinds]
        weights = [self._kinds[name][0] for name in names]
        while True:
            peace = self._random.uniform(SHORTEST_PEACE, LONGEST_PEACE)
            (name,) = self._random.choices(names, weights)
            choice = self._random.random()
            await asyncio.sleep(peace)
            if is_over():
                break
            self.pids.update(self._workers())
            task = asyncio.create_task(self._make(name, choice))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        while self._running:
            await asyncio.wait(set(self._running))
        self.pids.update(self._workers())

    async def _make(self, name: str, choice: float) -> None:
        _, make = self._kinds[name]
        try:
            await asyncio.wait_for(make(choice), PATIENCE_SECONDS)
        except asyncio.TimeoutError:
            self._ledger.note_wrong(f"{name}: not done in {PATIENCE_SECONDS:g} s")
        except LlamawireError as error:
            self._ledger.note_wrong(f"{name}: {error.code} {error.reason}: {error}")

    def _workers(self) -> list[int]:
        with contextlib.suppress(OSError):  # one may end while it is looked at
            return sorted(self._server.worker_pids())
        return []

    def _model(self, choice: float) -> ModelFile:
        return self._folder.files[int(choice * len(self._folder.files))]

    async def _signal(self, number: signal.Signals, choice: float) -> None:
        workers = self._workers()
        if workers:
            pid = workers[int(choice * len(workers))]
            is_hang = number is signal.SIGSTOP
            effect_seconds = HANG_EFFECT_SECONDS if is_hang else AFTER_EFFECT_SECONDS
            with self._ledger.trouble(number.name, self._model_of(pid), effect_seconds):
                _send(pid, number)

    async def _pause(self, choice: float) -> None:
        """Stop a worker for less time than is taken for hanging."""
        workers = self._workers()
        if workers:
            pid = workers[int(choice * len(workers))]
            with self._ledger.trouble("pause", self._model_of(pid)):
                _send(pid, signal.SIGSTOP)
                await asyncio.sleep(choice)
                _send(pid, signal.SIGCONT)

    def _model_of(self, pid: int) -> str:
        """The name of the model that a worker has mapped; empty where it has none yet."""
        with contextlib.suppress(OSError):
            maps = Path(f"/proc/{pid}/maps").read_text()
            for file in self._folder.files:
                if re.search(rf"{re.escape(str(file.path))}( \(deleted\))?$", maps, re.MULTILINE):
                    return file.name
        return ""

    async def _unload(self, choice: float, *, cancel_running: bool) -> None:
        name = self._model(choice).name
        with self._ledger.trouble("unload, cancelling" if cancel_running else "unload", name):
            await self._client.models.unload(name, cancel_running=cancel_running)

    async def _load_and_leave(self, choice: float) -> None:
        """Ask for a model to be loaded, and lose interest."""
        name = self._model(choice).name
        began = time.monotonic()
        load = self._client.models.load(name, timeout_seconds=0.2 + 2 * choice)
        try:
            with self._ledger.trouble("load and leave", name):
                async with load:
                    async for _ in load:
                        pass
        except (DeadlineExceededError, RequestCancelledError):
            return
        except LlamawireError as error:
            refusal = RefusedError(error.code.name, error.reason, error.message, error.retry_after_seconds)
            if not self._ledger.is_excused(refusal, name, began):
                raise

    async def _replace_file(self, choice: float) -> None:
        """Put an equal file in the place of a model's."""
        file = self._model(choice)
        self._num_files += 1
        draft = file.path.with_suffix(f".{self._num_files}")
        with self._ledger.trouble("replace", file.name):
            await asyncio.to_thread(shutil.copyfile, file.path, draft)
            draft.replace(file.path)

    async def _break_entry(self, choice: float) -> None:
        """Make an entry of models.yaml wrong, wait until that is noticed, and mend it."""
        name = self._model(choice).name
        wrong = WRONG_ENTRIES[int(choice * 100) % len(WRONG_ENTRIES)]
        async with self._catalog_lock:
            with self._ledger.trouble("break an entry", name):
                await self._break_and_mend(name, wrong)

    async def _break_and_mend(self, name: str, wrong: str) -> None:
        self._folder.write_catalog(name, wrong)
        await self._wait_for_problem(name, True)
        self._folder.write_catalog()
        await self._wait_for_problem(name, False)

    async def _wait_for_problem(self, name: str, is_expected: bool) -> None:
        """Until the model has a problem, or none."""
        has_problem = not is_expected
        while has_problem != is_expected:
            await asyncio.sleep(0.05)
            has_problem = bool((await self._client.models.get(name)).problem)

    async def _break_catalog(self, choice: float) -> None:
        """Make models.yaml something that is no YAML for a while."""
        async with self._catalog_lock:
            with self._ledger.trouble("break models.yaml"):
                self._folder.replace_catalog(NO_YAML)
                await asyncio.sleep(0.2 + choice)
                self._folder.write_catalog()

    async def _drop_bad_file(self, choice: float) -> None:
        """Put a file that is no model into the folder, ask for it, and take it away."""
        self._num_files += 1
        path = self._folder.found / f"bad-{self._num_files}.gguf"
        source = self._folder.files[0].path
        if choice < 1 / 3:
            path.write_bytes(random.Random(choice).randbytes(4096))
        else:
            # A model's beginning: with choice, of its header or of its weights.
            size = int(choice * 2000) if choice < 2 / 3 else int(choice * source.stat().st_size)
            with source.open("rb") as file:
                path.write_bytes(file.read(size))
        began = time.monotonic()
        name = path.stem
        try:
            with self._ledger.trouble("bad file", name):
                answer = await self._ask(Question(name, "Hello!", 4), None, True)
            self._ledger.note_wrong(f"a file that is no model has answered: {answer}")
        except RefusedError as refusal:
            is_right = refusal.code == "INTERNAL" and refusal.reason in (
                "MODEL_FILE_INVALID",
                "MODEL_LOAD_FAILED",
            )
            if not is_right and not self._ledger.is_excused(refusal, name, began):
                self._ledger.note_wrong(f"a file that is no model was refused otherwise: {refusal}")
        except httpx.HTTPError as error:
            self._ledger.note_wrong(f"the connection failed: {error!r}")
        finally:
            path.unlink()


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
