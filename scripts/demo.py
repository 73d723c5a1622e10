"""Start a server with the bundled model, and stream one answer over gRPC and one over HTTP.

python scripts/demo.py    after scripts/bootstrap.py; `make demo` does both
"""

from __future__ import annotations

import http.client
import json
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import grpc
from google.protobuf.duration_pb2 import Duration

from llamawire.v1 import chat_pb2, chat_pb2_grpc, usage_pb2

SERVER = Path(sys.executable).parent / "llamawire-server"
MODEL = "smollm2"
QUESTION = "What is the capital of France? Answer in one sentence."
MAX_TOKENS = 64

READY = re.compile(r"llamawire-server ready grpc=(?P<grpc>\S+) http=(?P<http>\S+)")
READY_SECONDS = 120.0
CALL_SECONDS = 120.0
STOP_SECONDS = 30.0
LOG_LINES_SHOWN = 30


class DemoError(Exception):
    """The demo can't go on; the text says why."""


@dataclass(frozen=True)
class Addresses:
    """Where the server listens, each as HOST:PORT."""

    grpc: str
    http: str


@contextmanager
def running_server() -> Iterator[Addresses]:
    """A server on free ports that is ready, and is stopped afterwards. What it logged is shown after a failure.

    Raises DemoError where it doesn't get ready.
    """
    command = [str(SERVER), "serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--preload", MODEL]
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        except OSError as error:
            raise DemoError(f"{SERVER} can't be run ({error}); `make demo` installs it") from error
        try:
            yield wait_until_ready(process)
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):
                show_tail(log)
            raise
        finally:
            stop(process)


def wait_until_ready(process: subprocess.Popen[str]) -> Addresses:
    """Wait for the server's one line on standard output. Raises DemoError."""
    assert process.stdout is not None  # it is a pipe
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read(stdout: IO[str]) -> None:
        # Until the end, lest the server ever blocks on a full pipe.
        with stdout:
            for line in stdout:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, args=(process.stdout,), daemon=True).start()
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise DemoError(f"the server was not ready within {READY_SECONDS:.0f} s") from None
        if line is None:
            raise DemoError(f"the server ended before it was ready, with exit status {process.wait()}")
        if found := READY.match(line):
            return Addresses(found["grpc"], found["http"])


def stop(process: subprocess.Popen[str]) -> None:
    """End the server: let it drain, but not for ever."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def show_tail(log: IO[str]) -> None:
    """Print the end of the server's log."""
    log.seek(0)
    print("\nthe server's last words:", file=sys.stderr)
    for line in log.readlines()[-LOG_LINES_SHOWN:]:
        print(f"  {line.rstrip()}", file=sys.stderr)


def ask_over_grpc(address: str) -> None:
    """Stream the answer with the generated stubs."""
    request = chat_pb2.ChatCompletionRequest(
        model=MODEL,
        messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=QUESTION)],
        temperature=0,
        max_tokens=MAX_TOKENS,
    )
    usage, timings = usage_pb2.Usage(), usage_pb2.Timings()
    with grpc.insecure_channel(address) as channel:
        chunks = chat_pb2_grpc.ChatServiceStub(channel).StreamChatCompletion(request, timeout=CALL_SECONDS)
        for chunk in chunks:
            for choice in chunk.choices:
                show(choice.delta.content)
            if chunk.HasField("usage"):  # the last chunk, always
                usage, timings = chunk.usage, chunk.timings
    print(
        f"\n  {usage.prompt_tokens} prompt tokens ({usage.prompt_cache_hit_tokens} from the cache), "
        f"{usage.completion_tokens} generated; first token after {milliseconds(timings.first_token)}, "
        f"prompt {milliseconds(timings.prompt)}, generation {milliseconds(timings.generation)}"
    )


def ask_over_http(address: str) -> None:
    """Stream the answer the way OpenAI's clients do. Raises DemoError where the server refuses."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    connection = http.client.HTTPConnection(address, timeout=CALL_SECONDS)
    start = time.monotonic()
    first_seconds = None
    usage: dict[str, Any] = {}
    try:
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise DemoError(f"HTTP {response.status}: {response.read().decode('utf-8', 'replace')}")
        for event in server_sent_events(response):
            if "error" in event:
                raise DemoError(f"the stream broke off: {event['error']}")
            for choice in event["choices"]:
                text = choice["delta"].get("content")
                if text and first_seconds is None:
                    first_seconds = time.monotonic() - start
                show(text or "")
            usage = event.get("usage") or usage
    finally:
        connection.close()
    if not usage:
        raise DemoError("the stream ended without its usage")
    total_seconds = time.monotonic() - start
    print(
        f"\n  {usage['prompt_tokens']} prompt tokens ({usage['prompt_tokens_details']['cached_tokens']} from the "
        f"cache), {usage['completion_tokens']} generated; "
        f"first text after {1000 * (first_seconds or total_seconds):.0f} ms, all after {1000 * total_seconds:.0f} ms"
    )


def server_sent_events(response: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON of each event, up to `[DONE]`."""
    for line in response:
        field, _, value = line.decode("utf-8").partition(":")
        if field != "data":
            continue
        if value.strip() == "[DONE]":
            return
        yield json.loads(value)


def show(text: str) -> None:
    """Print a piece of the answer at once."""
    print(text, end="", flush=True)


def milliseconds(duration: Duration) -> str:
    """A duration as people read it."""
    return f"{duration.ToNanoseconds() / 1e6:.0f} ms"


GO_ON = """
To go on:
  make serve                            the same server, on 127.0.0.1:50051 (gRPC) and 127.0.0.1:8080 (HTTP)
  llamawire chat --max-tokens 64 "Hi!"  from another terminal, with .venv activated
  curl 127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "smollm2", "messages": [{"role": "user", "content": "Hello"}]}'
Stubs for other languages come from proto/; OpenAI's SDKs take http://127.0.0.1:8080/v1 as base URL."""


def main() -> int:
    """Run the demo. Returns the exit status."""
    print(f"starting llamawire-server with {MODEL}")
    try:
        with running_server() as addresses:
            print(f"\n{QUESTION}\n\nover gRPC, from {addresses.grpc}:\n  ", end="")
            ask_over_grpc(addresses.grpc)
            print(f"\nover HTTP, from {addresses.http}:\n  ", end="")
            ask_over_http(addresses.http)
    except (DemoError, grpc.RpcError, OSError, http.client.HTTPException) as error:
        print(f"the demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(GO_ON)
    return 0


if __name__ == "__main__":
    sys.exit(main())
