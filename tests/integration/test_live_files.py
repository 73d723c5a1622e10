"""models.yaml and the models folder as they change under a running server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from callers import wait_until
from servers import RunningServer, ask, endless, failure_of, frozen, launch, reason_of
from streams import Log

from llamawire.v1 import chat_pb2, model_pb2, tokenizer_pb2

READY = model_pb2.MODEL_STATE_READY


class LiveServer:
    """A server, and the files that it follows."""

    def __init__(self, server: RunningServer, catalog: Path, folder: Path, home: Path) -> None:
        self.server = server
        self.catalog = catalog
        self.folder = folder
        self.home = home
        self.others = server.states()
        """The models that are there without any of these files."""

    def write_catalog(self, text: str) -> None:
        """In one step, as editors do."""
        new = self.catalog.with_suffix(".new")
        new.write_text(text)
        new.replace(self.catalog)

    def put(self, name: str, content: bytes) -> Path:
        """A whole file in the folder, in one step."""
        new, path = self.home / "new.gguf", self.folder / f"{name}.gguf"
        new.write_bytes(content)
        new.replace(path)
        return path

    def tokenize(self, name: str) -> list[int]:
        request = tokenizer_pb2.TokenizeRequest(model=name, text="abc")
        return list(self.server.tokenizer.Tokenize(request).tokens)

    def has(self, name: str) -> bool:
        return name in self.server.states()

    def wait_until_gone(self, name: str) -> None:
        wait_until(lambda: not self.has(name))
        assert reason_of(failure_of(lambda: self.tokenize(name))) == "MODEL_NOT_FOUND"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    home = tmp_path_factory.mktemp("live")
    catalog, folder = home / "models.yaml", home / "folder"
    folder.mkdir()
    catalog.write_text("")
    arguments = ("--models-yaml", str(catalog), "--models-dir", str(folder))
    environment = {"LLAMAWIRE_MODELS_POLL_SECONDS": "0.05"}
    with launch(home / "server.log", home, *arguments, environment=environment) as server:
        yield LiveServer(server, catalog, folder, home)
        assert server.stop() == 0


@pytest.fixture
def live(running: LiveServer) -> Iterator[LiveServer]:
    """The server with nothing in models.yaml and in the folder, before and after."""
    yield running
    running.write_catalog("")
    for path in running.folder.iterdir():
        path.unlink()
    wait_until(lambda: running.server.states() == running.others)
    wait_until(lambda: running.server.worker_pids() == [])


@pytest.fixture
def file(live: LiveServer, tiny_model: bytes) -> Path:
    """A model outside of the folder, without a name."""
    path = live.home / "outside.gguf"
    path.write_bytes(tiny_model)
    return path


def test_names_come_and_go(live: LiveServer, file: Path) -> None:
    watch = live.server.models.WatchModels(model_pb2.WatchModelsRequest())
    with Log(watch, lambda news: ([model.name for model in news.models], list(news.removed))) as log:
        wait_until(lambda: log.entries)
        live.write_catalog(f"first: {file}\n")
        wait_until(lambda: log.entries[-1] == (["first"], []))
        tokens = live.tokenize("first")
        (worker,) = live.server.worker_pids()
        assert live.server.is_serving("model/first")

        live.write_catalog(f"first: {{path: {file}, aliases: [second]}}\n")
        wait_until(lambda: live.server.model("first").aliases == ["second"])
        assert live.tokenize("second") == tokens
        assert live.server.is_serving("model/second")

        live.write_catalog(f"second: {file}\n")
        wait_until(lambda: log.entries[-1] == (["second"], ["first"]))
        live.wait_until_gone("first")
        assert live.tokenize("second") == tokens
        assert live.server.worker_pids() == [worker], "a name is no reason to load a model anew"

        live.write_catalog("")
        wait_until(lambda: log.entries[-1] == ([], ["second"]))
    live.wait_until_gone("second")
    error = failure_of(lambda: live.server.is_serving("model/second"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    wait_until(lambda: live.server.worker_pids() == [])


@pytest.mark.parametrize(
    ("entry", "line", "complaint"),
    [
        ("first:\n  path: {file}\n  treads: 1\n", 3, "did you mean 'threads'?"),
        ("first:\n  path: {file}\n  parallel: many\n", 3, "parallel must be a whole number"),
        ("# Nothing\nfirst: [\n", 3, "is not YAML"),
    ],
)
def test_a_mistake_is_told_with_its_line_while_what_was_right_answers(
    live: LiveServer, file: Path, entry: str, line: int, complaint: str
) -> None:
    live.write_catalog(f"first: {{path: {file}, parallel: 2}}\n")
    wait_until(lambda: live.has("first"))
    tokens = live.tokenize("first")
    (worker,) = live.server.worker_pids()
    live.write_catalog(entry.format(file=file))
    wait_until(lambda: live.server.model("first").problem)
    problem = live.server.model("first").problem
    assert problem.startswith(f"{live.catalog}, line {line}: ")
    assert complaint in problem
    assert live.tokenize("first") == tokens
    assert live.server.model("first").facts.parallel == 2
    assert live.server.worker_pids() == [worker]

    live.write_catalog(f"first: {{path: {file}, parallel: 3}}\n")
    wait_until(lambda: not live.server.model("first").problem)
    assert live.tokenize("first") == tokens
    assert live.server.model("first").facts.parallel == 3


def test_files_come_and_go(live: LiveServer, tiny_model: bytes) -> None:
    path = live.put("found", tiny_model)
    wait_until(lambda: live.has("found"))
    assert len(live.tokenize("found")) > 0
    path.unlink()
    live.wait_until_gone("found")
    wait_until(lambda: live.server.worker_pids() == [])


def test_a_file_that_is_being_copied_is_a_model_once_it_is_whole(live: LiveServer, tiny_model: bytes) -> None:
    path = live.folder / "copied.gguf"
    with path.open("wb") as file:
        for end in (0, 100, len(tiny_model) // 2, len(tiny_model) - 1):
            file.write(tiny_model[file.tell() : end])
            file.flush()
            error = failure_of(lambda: live.tokenize("copied"))
            assert error.code() is grpc.StatusCode.INTERNAL
            assert reason_of(error) == "MODEL_FILE_INVALID"
            assert not live.has("copied")
        file.write(tiny_model[-1:])
    wait_until(lambda: live.has("copied"))
    assert len(live.tokenize("copied")) > 0
    assert live.server.model("copied").failure == ""


def test_a_file_that_is_replaced_is_loaded_anew_while_the_old_one_answers(
    live: LiveServer, model_file: Path, other_model_file: Path
) -> None:
    live.put("model", model_file.read_bytes())
    request = endless(model="model", max_tokens=40)
    undisturbed = live.server.chat.CreateChatCompletion(request)
    running = live.server.chat.StreamChatCompletion(request)
    begun = [next(running)]
    (old,) = live.server.worker_pids()
    with frozen(old):
        live.put("model", other_model_file.read_bytes())
        wait_until(lambda: live.server.model("model").facts.quantization == "Q8_0")
        fresh = live.server.chat.CreateChatCompletion(ask("Hello!", model="model", max_tokens=1))
        assert fresh.system_fingerprint != undisturbed.system_fingerprint
        assert live.server.state("model") == READY
        assert not running.done()
    chunks = [*begun, *running]
    assert text_of(chunks) == undisturbed.choices[0].message.content
    assert {chunk.system_fingerprint for chunk in chunks} == {undisturbed.system_fingerprint}
    wait_until(lambda: old not in live.server.worker_pids())
    assert len(live.server.worker_pids()) == 1


def text_of(chunks: list[chat_pb2.ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)
