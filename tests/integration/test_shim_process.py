"""`llamawire-server shim`: the HTTP side as a process of its own, in front of the real server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import anthropic
import httpx
import openai
import pytest
from callers import RawCaller, chat_body, events_of, http_client, post, wait_until
from servers import RunningServer, StartServer

STORY = chat_body("Write a story about a fox.")
NO_FORM = {"type": "json_schema", "json_schema": {"name": "none", "schema": {"type": "word"}}}
LONG = chat_body("Write a very long story about a fox.", max_tokens=4000, stop=["\x00"])
COMMAND = str(Path(sys.executable).parent / "llamawire-server")


class Shim:
    """A running `llamawire-server shim`."""

    def __init__(self, target: str, log_file: Path, *arguments: str) -> None:
        command = [COMMAND, "shim", "--target", target, "--http", "127.0.0.1:0", *arguments]
        with log_file.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("llamawire-server ready http="):
            self.__exit__(None, None, None)
            pytest.fail(f"the shim did not start: {line!r}\n{log_file.read_text()}")
        self.http_address = line.strip().partition("http=")[2]
        self.log_file = log_file

    def get(self, path: str) -> httpx.Response:
        with http_client(self.http_address) as client:
            return client.get(path)

    def is_ready(self) -> bool:
        return self.get("/readyz").status_code == 200

    def errors(self) -> list[str]:
        """What it logged as errors."""
        return [line for line in self.log_file.read_text().splitlines() if " ERROR " in line]

    def __enter__(self) -> Shim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def shim(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    """A shim in front of the shared server."""
    with Shim(server.grpc_address, tmp_path_factory.mktemp("shim") / "shim.log") as running:
        yield running
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
        assert running.errors() == []


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer or a chunk without what differs between two answers to one request."""
    return {name: value for name, value in answer.items() if name not in ("id", "created", "timings")}


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])


def test_the_same_answers_come_through_it(server: RunningServer, shim: Shim) -> None:
    asked = {**STORY, "n": 2, "temperature": 1.2, "seed": 4}
    direct, through = (post(address, asked).json() for address in (server.http_address, shim.http_address))
    assert comparable(through) == comparable(direct)
    assert through["timings"]["generation_seconds"] > 0

    streamed = {**STORY, "stream": True, "stream_options": {"include_usage": True}}
    direct, through = (
        events_of(post(address, streamed)) for address in (server.http_address, shim.http_address)
    )
    assert text_of(through) == text_of(direct) != ""
    assert comparable(through[-1]) == comparable(direct[-1])
    assert len(through) > 6, "not all at once"


def test_the_same_models_come_through_it(server: RunningServer, shim: Shim) -> None:
    for path in ("/v1/models", "/v1/models/smollm2", "/v1/models/SmolLM2:latest"):
        with http_client(server.http_address) as client:
            direct = client.get(path)
        assert direct.status_code == 200
        assert shim.get(path).json() == direct.json()


@pytest.mark.parametrize(
    "body",
    [
        {**STORY, "model": "smollm3"},
        {**STORY, "temperature": 9, "top_p": -1},
        {**STORY, "bogus": 1},
        {**STORY, "response_format": NO_FORM},
        {**STORY, "max_tokens": 8192},
        {**STORY, "messages": [{"role": "user"}]},
        {**STORY, "messages": [{"role": "user", "content": "word " * 9000}]},
        {
            **STORY,
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
            ],
        },
        {**STORY, "messages": [{"role": "user", "content": "x" * (17 * 1024 * 1024)}]},
    ],
    ids=lambda body: ",".join(body.keys() - STORY.keys()) or "",
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_same_errors_come_through_it(
    server: RunningServer, shim: Shim, body: dict[str, Any], stream: bool
) -> None:
    direct, through = (
        post(address, {**body, "stream": stream}) for address in (server.http_address, shim.http_address)
    )
    assert direct.status_code in (400, 404, 413)
    assert (through.status_code, through.json()) == (direct.status_code, direct.json())


def test_a_deadline_reaches_the_server(server: RunningServer, shim: Shim) -> None:
    with http_client(shim.http_address) as client:
        response = client.post(
            "/v1/chat/completions", json=LONG, headers={"x-request-timeout-seconds": "0.5"}
        )
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "timeout"
    wait_until(lambda: server.model().active_requests == 0)


def test_the_request_id_comes_back(shim: Shim) -> None:
    with http_client(shim.http_address) as client:
        response = client.post("/v1/chat/completions", json=STORY, headers={"x-request-id": "mine-2"})
    assert response.headers["x-request-id"] == "mine-2"


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_hang_up_comes_through_it(server: RunningServer, shim: Shim, stream: bool, way: str) -> None:
    with RawCaller(shim.http_address, {**LONG, "stream": stream}) as caller:
        wait_until(lambda: server.model().active_requests == 1)
        if stream:
            caller.read_until(b'"content":" ')
        getattr(caller, way)()
        wait_until(lambda: server.model().active_requests == 0)


def test_health_and_readiness(shim: Shim) -> None:
    assert shim.get("/healthz").json() == {"status": "ok"}
    assert shim.get("/readyz").json() == {"status": "ready"}
    assert shim.get("/openapi.json").json()["paths"].keys() >= {"/v1/chat/completions", "/readyz"}


def test_openai_s_sdk_through_it(shim: Shim) -> None:
    base_url = f"http://{shim.http_address}/v1"
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as sdk:
        answer = sdk.chat.completions.create(**STORY)
        assert answer.choices[0].message.content
        with pytest.raises(openai.NotFoundError):
            sdk.models.retrieve("smollm3")


def assert_unavailable(shim: Shim) -> None:
    """Every path that needs the server says that it is away, and when to ask again."""
    answers = [shim.get("/readyz"), shim.get("/v1/models"), shim.get("/v1/models/smollm2")]
    answers += [post(shim.http_address, {**STORY, "stream": stream}) for stream in (False, True)]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "10"
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("model_loading", "model_loading")
        assert "127.0.0.1" not in error["message"], "where the server is, is nobody's business"
    assert shim.get("/healthz").status_code == 200, "the shim itself is well"


def test_a_server_that_comes_and_goes(start_server: StartServer, tmp_path: Path) -> None:
    """The shim outlives its server: it says so while there is none, and goes on when it is back."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with Shim(address, tmp_path / "shim.log") as shim:
        assert_unavailable(shim)
        for _ in range(2):
            server = start_server("--grpc", address, "--preload", "smollm2")
            wait_until(shim.is_ready)
            assert post(shim.http_address, STORY).json()["usage"]["completion_tokens"] == 16
            with RawCaller(shim.http_address, {**LONG, "stream": True}) as caller:
                received = caller.read_until(b'"content":" ')
                server.process.kill()
                received += caller.read_until(b"\r\n0\r\n")
            last = received.split(b"data: ")[-1].split(b"\n")[0]
            assert json.loads(last)["error"] == {
                "message": "the connection to the model server broke",
                "type": "inference_error",
                "param": None,
                "code": "inference_error",
            }
            assert b"[DONE]" not in received
            server.process.wait()
            assert_unavailable(shim)
        assert shim.errors() == []


def test_a_server_that_dies_in_mid_answer(start_server: StartServer, tmp_path: Path) -> None:
    """Clients are not told to ask again, as they are of a server that is not there: work was done."""
    server = start_server("--preload", "smollm2")
    with Shim(server.grpc_address, tmp_path / "shim.log") as shim:
        with RawCaller(shim.http_address, LONG) as caller:
            wait_until(lambda: server.model().active_requests == 1)
            server.process.kill()
            head, _, body = caller.read_until(b"}}").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 500 ")
        assert b"x-should-retry: false" in head
        assert b"retry-after" not in head
        assert json.loads(body)["error"]["message"] == "the connection to the model server broke"


def test_a_server_that_drains(start_server: StartServer, tmp_path: Path) -> None:
    """What runs is finished through the shim; what comes later is refused in the contract's words."""
    server = start_server("--preload", "smollm2")
    with Shim(server.grpc_address, tmp_path / "shim.log") as shim:
        body = {**STORY, "max_tokens": 120, "stop": ["\x00"], "stream": True}
        with RawCaller(shim.http_address, body) as caller:
            caller.read_until(b'"content":" ')
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not shim.is_ready())
            refused = post(shim.http_address, STORY)
            assert b"error" not in caller.read_until(b"[DONE]")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "10"
        assert refused.json()["error"]["message"] == "the server is shutting down"
        assert server.process.wait(30) == 0


def test_sigterm_lets_running_answers_finish(server: RunningServer, tmp_path: Path) -> None:
    with Shim(server.grpc_address, tmp_path / "shim.log") as shim:
        with RawCaller(shim.http_address, {**STORY, "max_tokens": 40, "stream": True}) as caller:
            caller.read_until(b'"content":" ')
            shim.process.send_signal(signal.SIGTERM)
            assert b"error" not in caller.read_until(b"[DONE]")
        assert shim.process.wait(30) == 0
        assert shim.errors() == []


def test_a_second_sigterm_ends_at_once(server: RunningServer, tmp_path: Path) -> None:
    with Shim(server.grpc_address, tmp_path / "shim.log") as shim:
        host, port = shim.http_address.split(":")
        with RawCaller(shim.http_address, {**LONG, "stream": True}) as caller:
            caller.read_until(b'"content":" ')
            shim.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not accepts(host, int(port)))
            shim.process.send_signal(signal.SIGTERM)
            received = caller.read_until(b"\r\n0\r\n")
        assert b'"error":' in received
        assert shim.process.wait(30) == 0
        assert shim.errors() == []
        wait_until(lambda: server.model().active_requests == 0)


def accepts(host: str, port: int) -> bool:
    """Whether anybody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@pytest.mark.parametrize("arguments", [["--http", "nonsense"], ["--http", "127.0.0.1"]])
def test_a_shim_that_can_not_start_says_why(arguments: list[str], tmp_path: Path) -> None:
    command = [COMMAND, "shim", "--target", "127.0.0.1:1", *arguments]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert "--http must be of the form HOST:PORT" in result.stderr.splitlines()[-1]


def test_usage_on_the_way_comes_from_the_other_server(shim: Shim) -> None:
    asked: Any = {"model": "smollm2", "max_tokens": 4, "messages": STORY["messages"]}
    with anthropic.Anthropic(base_url=f"http://{shim.http_address}", api_key="none") as sdk:
        events = list(sdk.messages.create(**asked, stream=True))
    (start,) = (event.message.usage for event in events if event.type == "message_start")
    (end,) = (event.usage for event in events if event.type == "message_delta")
    assert start.input_tokens == end.input_tokens > 0
    options = {"include_usage": True, "continuous_usage_stats": True}
    response = post(shim.http_address, {**STORY, "max_tokens": 4, "stream": True, "stream_options": options})
    told = [event["usage"]["completion_tokens"] for event in events_of(response)]
    assert (told[0], told[-1], told) == (0, 4, sorted(told))


def test_so_many_responses_are_kept_as_the_shim_is_told(server: RunningServer, tmp_path: Path) -> None:
    asked: Any = {"model": "smollm2", "input": "Hi", "max_output_tokens": 1}
    with (
        Shim(server.grpc_address, tmp_path / "shim.log", "--max-kept-responses", "1") as shim,
        openai.OpenAI(base_url=f"http://{shim.http_address}/v1", api_key="none", max_retries=0) as sdk,
    ):
        first, second = (sdk.responses.create(**asked).id for _ in range(2))
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.responses.create(**asked, previous_response_id=first)
        assert caught.value.code == "previous_response_not_found"
        assert sdk.responses.create(**asked, previous_response_id=second).output_text
