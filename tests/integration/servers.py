"""A real server as a process, started as a user would, and requests to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from llamawire.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    completion_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    tokenizer_pb2_grpc,
)

READY_SECONDS = 120

# <|endoftext|> and <|im_end|>: without them the answer goes on to its limit.
NO_END = {0: -100, 2: -100}


@dataclass
class RunningServer:
    """A `llamawire-server serve` process and how to reach it."""

    process: subprocess.Popen[str]
    grpc_address: str
    http_address: str
    log_file: Path

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.grpc_address)
        self.chat = chat_pb2_grpc.ChatServiceStub(self.channel)
        self.completions = completion_pb2_grpc.CompletionServiceStub(self.channel)
        self.models = model_pb2_grpc.ModelServiceStub(self.channel)
        self.tokenizer = tokenizer_pb2_grpc.TokenizerServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    @property
    def base_url(self) -> str:
        """What OpenAI's clients are pointed at."""
        return f"http://{self.http_address}/v1"

    def model(self, name: str = "smollm2") -> model_pb2.Model:
        return self.models.GetModel(model_pb2.GetModelRequest(name=name)).model

    def state(self, name: str = "smollm2") -> model_pb2.ModelState.ValueType:
        """Where a model stands."""
        return self.model(name).state

    def is_serving(self, service: str = "") -> bool:
        """What health checks are told of the process, a service or a model."""
        response = self.health.Check(health_pb2.HealthCheckRequest(service=service))
        return response.status == health_pb2.HealthCheckResponse.SERVING

    def states(self) -> dict[str, model_pb2.ModelState.ValueType]:
        """Where every model stands, by name."""
        response = self.models.ListModels(model_pb2.ListModelsRequest())
        return {model.name: model.state for model in response.models}

    def worker_pids(self) -> list[int]:
        """The server's workers, by the kernel's own list of its children."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [
            int(child)
            for child in children
            if b"llamawire_server.worker.child" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]

    def worker_of(self, model_file: Path) -> int:
        """The worker that has this file's model loaded."""
        (pid,) = (pid for pid in self.worker_pids() if str(model_file) in maps_of(pid))
        return pid

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 60) -> int:
        """Send a signal and wait for the end; gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that stands still for a while, and what is going on in it with it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def maps_of(pid: int) -> str:
    """The files that a process has mapped into its memory; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


StartServer = Callable[..., RunningServer]


def launch(
    log_file: Path, home: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> RunningServer:
    """Start a server with nothing of this machine's user in reach, and wait until it says that it is ready."""
    command = [Path(sys.executable).parent / "llamawire-server", "serve"]
    command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments]
    with log_file.open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "HOME": str(home), **(environment or {})},
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("llamawire-server ready "):
        process.kill()
        process.wait()
        process.stdout.close()
        pytest.fail(f"the server did not start: {line!r}\n{log_file.read_text()}")
    addresses = dict(word.split("=", 1) for word in line.split()[2:])
    return RunningServer(process, addresses["grpc"], addresses["http"], log_file)


def one_thread(folder: Path, model_file: Path, *settings: str) -> tuple[str, ...]:
    """Arguments for a server that computes with one thread. settings: more lines of the model's entry.

    llama.cpp's threads wait for each other at barriers: on a busy machine two can be ten times as slow as one.
    """
    catalog = folder / "models.yaml"
    lines = [f"path: {model_file}", "threads: 1", *settings]
    catalog.write_text("smollm2:\n" + "".join(f"  {line}\n" for line in lines))
    return ("--models-yaml", str(catalog))


def ask(content: str, **fields: object) -> chat_pb2.ChatCompletionRequest:
    """A greedy request for a short answer, unless told otherwise."""
    values: dict[str, object] = {"model": "smollm2", "temperature": 0, "max_tokens": 16, **fields}
    message = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=content)
    return chat_pb2.ChatCompletionRequest(messages=[message], **values)  # type: ignore[arg-type]


def endless(**fields: object) -> chat_pb2.ChatCompletionRequest:
    """A request for an answer that goes on for as long as any test may want it to."""
    return ask("Write a very long story about a fox.", **{"max_tokens": 8000, "logit_bias": NO_END, **fields})


def failure_of(call: Callable[[], object]) -> grpc.RpcError:
    """What a call fails with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def reason_of(error: grpc.RpcError) -> str:
    """What clients decide on: the reason of an error's ErrorInfo, which comes first among its details."""
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


def retry_seconds_of(error: grpc.RpcError) -> float:
    """How long an error's RetryInfo asks to wait; 0 where it has none."""
    retry = error_details_pb2.RetryInfo()
    return retry.retry_delay.ToNanoseconds() / 1e9 if _unpack(error, retry) else 0.0


def _unpack(error: grpc.RpcError, detail: Message) -> bool:
    """Read the detail of this kind, where the error has one."""
    status = rpc_status.from_call(error)
    assert status is not None
    return any(packed.Unpack(detail) for packed in status.details)
