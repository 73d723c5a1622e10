"""Many threads ask for names while files come, go and break."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from llamawire_server.config import ModelSources
from llamawire_server.errors import ServiceError
from llamawire_server.gguf.metadata import GGUFMetadata
from llamawire_server.models import model_files
from llamawire_server.models.resolver import ModelEntry, Resolver

NUM_THREADS = 48

Answer = TypeVar("Answer")


@pytest.fixture
def resolver(tmp_path) -> Resolver:
    sources = ModelSources(tmp_path / "models.yaml", tmp_path / "models")
    return Resolver(sources, find_bundled=lambda: None)


def run_at_once(task: Callable[[int], Answer]) -> list[Answer]:
    """What the task gives in each of many threads that begin together; raises what one of them raised."""
    start = threading.Barrier(NUM_THREADS)

    def run(number: int) -> Answer:
        start.wait()
        return task(number)

    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return list(threads.map(run, range(NUM_THREADS)))


def test_a_cold_resolver_reads_each_file_once(resolver, write_model, monkeypatch):
    reads = []
    read_gguf = model_files.read_gguf

    def read_slowly(path: Path) -> GGUFMetadata:
        reads.append(path.name)
        time.sleep(0.01)  # lets the other threads come to the same point
        return read_gguf(path)

    monkeypatch.setattr(model_files, "read_gguf", read_slowly)
    for number in range(5):
        write_model(f"models/m{number}.gguf")

    entries = run_at_once(lambda number: resolver.resolve(f"m{number % 5}"))

    assert {entry.name for entry in entries} == {f"m{number}" for number in range(5)}
    assert sorted(reads) == [f"m{number}.gguf" for number in range(5)]


def test_files_change_under_many_threads(resolver, write_model, tmp_path):
    stable = write_model("models/stable.gguf", "stable", "Stable Name").resolve()
    whole = stable.read_bytes()
    is_over = threading.Event()

    def put(place: str, content: bytes) -> None:
        """As an editor or a download does it: the file is there whole at once."""
        path = tmp_path / place
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").replace(path)

    def change(turn: int) -> None:
        """One round of everything that can happen to the files."""
        put("models/moving.gguf", whole.replace(b"stable", b"moving") + bytes(turn))
        put("models.yaml", b"listed: {path: models/stable.gguf, parallel: %d}\n" % (turn % 256 + 1))
        (tmp_path / "models" / "half.gguf").write_bytes(whole[: turn * 7 % len(whole)])
        put("models.yaml", b"listed: [\n")
        (tmp_path / "models" / "half.gguf").unlink()
        put("models.yaml", b"listed: {path: models/gone.gguf}\n# %d" % turn)
        (tmp_path / "models" / "moving.gguf").unlink()

    may_fail = {
        "listed": {"MODEL_FILE_MISSING", "MODELS_YAML_INVALID", "MODEL_NOT_FOUND"},
        "moving": {"MODEL_NOT_FOUND", "MODELS_YAML_INVALID", "MODEL_FILE_MISSING", "MODEL_FILE_INVALID"},
        "half": {"MODEL_NOT_FOUND", "MODELS_YAML_INVALID", "MODEL_FILE_MISSING", "MODEL_FILE_INVALID"},
        "stable": set(),
        "nothing": {"MODEL_NOT_FOUND", "MODELS_YAML_INVALID"},
    }

    def check(entry: ModelEntry, name: str) -> None:
        assert entry.metadata is not None
        assert entry.path.name in {"stable.gguf", f"{name}.gguf"}
        if name == "stable":
            assert entry.path == stable
            assert entry.name in {"stable", "listed"}
            assert entry.metadata.display_name == "Stable Name"

    def ask(number: int) -> list[tuple[str, str]]:
        failures = []
        for name in itertools.islice(itertools.cycle(may_fail), number, number + 15):
            try:
                check(resolver.resolve(name), name)
            except ServiceError as error:
                failures.append((name, error.reason))
            names = [entry.name for entry in resolver.entries()]
            assert {"stable", "listed"} & set(names)
            assert names == sorted(set(names))
        return failures

    def keep_changing() -> None:
        for turn in itertools.count():
            change(turn)
            if is_over.is_set() and turn >= 10:
                return

    with ThreadPoolExecutor(1) as changer:
        changes = changer.submit(keep_changing)
        try:
            failures = set(itertools.chain.from_iterable(run_at_once(ask)))
        finally:
            is_over.set()
        changes.result()

    assert failures <= {(name, reason) for name, reasons in may_fail.items() for reason in reasons}

    put("models.yaml", b"# mended at last\nlisted: {path: models/stable.gguf, parallel: 7}\n")
    put("models/last.gguf", whole.replace(b"stable", b"latest"))
    assert resolver.resolve("listed").settings.parallel == 7
    assert resolver.resolve("latest").name == "last"
    assert [entry.name for entry in resolver.entries()] == ["last", "listed"]


def test_one_broken_file_gives_each_thread_an_error_of_its_own(resolver, write_model):
    Path(write_model("models/a.gguf")).write_bytes(b"GGUF")

    def ask(_: int) -> ServiceError:
        with pytest.raises(ServiceError) as raised:
            resolver.resolve("a")
        return raised.value

    errors = run_at_once(ask)

    assert len({id(error) for error in errors}) == NUM_THREADS
    assert {str(error) for error in errors} == {str(errors[0])}
