"""A worker without a model, for tests of its parent's side: does what the texts that it is given say."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from typing import Any

from llamawire_server.worker.messages import (
    Cancel,
    Events,
    Loaded,
    LoadFailed,
    Loading,
    Request,
    Tokenize,
    Tokens,
    WorkerSetup,
)
from llamawire_server.worker.wire import ConnectionClosedError, Inbox, frame


def end_by(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    kinds: Any = WorkerSetup
    (setup,) = Inbox[WorkerSetup](connection, kinds).receive(wait=True)
    connection.sendall(frame(Loading(0.5)))
    if setup.path == "refuse":
        connection.sendall(frame(LoadFailed("no tensors")))
        return
    if setup.path == "crash":
        end_by(signal.SIGABRT)
    if setup.path == "hang":
        time.sleep(600)
    connection.sendall(frame(Loaded(1, 2, 3, 4, 5, has_chat_template=False)))
    requests: Any = Request
    inbox = Inbox[Any](connection, requests)
    cancelled: list[int] = []
    while True:
        for request in inbox.receive(wait=True):
            if isinstance(request, Cancel):
                cancelled.append(request.request_id)
            elif isinstance(request, Tokenize) and request.text == "cancelled?":
                connection.sendall(frame(Events([Tokens(request.request_id, cancelled, [])])))
            elif isinstance(request, Tokenize) and request.text.startswith("signal "):
                end_by(int(request.text.split()[1]))
            elif isinstance(request, Tokenize) and request.text == "do not end":
                connection.sendall(frame(Events([Tokens(request.request_id, [], [])])))
                time.sleep(600)


if __name__ == "__main__":
    with contextlib.suppress(ConnectionClosedError):
        main()
