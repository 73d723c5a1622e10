"""A server as a process that ends with its context."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS = 120.0
END_SECONDS = 30.0
_LOG_CHARACTERS_SHOWN = 2000


class StartError(Exception):
    """A server did not start; the text says why, as far as its log does."""


@contextmanager
def server_process(
    command: Sequence[str | Path], log_file: Path, *, prints_address: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Run a server; what it logs goes to a file. What it prints goes there too, unless it `prints_address`.

    Raises StartError.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("w", encoding="utf-8") as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if prints_address else log,
                stderr=log,
                text=True,
            )
        except FileNotFoundError as error:
            raise StartError(f"{command[0]} is not there") from error
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def failure(what: str, log_file: Path) -> StartError:
    """A failure with the end of the server's log."""
    log = log_file.read_text(encoding="utf-8", errors="replace")
    return StartError(f"{what} did not start: {log[-_LOG_CHARACTERS_SHOWN:].strip()}")


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for_page(process: subprocess.Popen[str], port: int, path: str) -> bool:
    """Wait until a page is there; False where the server ends or takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == http.client.OK:
                return True
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    return False
