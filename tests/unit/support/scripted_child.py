"""A worker without a model, for tests of its parent's side: does what the texts that it is given say.

An answer to a conversation is the numbers from 0 on, each a token of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from llamawire_server.worker.messages import (
    Cancel,
    Completed,
    Event,
    Events,
    Failed,
    Generate,
    Loaded,
    LoadFailed,
    Loading,
    Memory,
    Request,
    Started,
    Taken,
    TextDelta,
    Tokenize,
    Tokens,
    WorkerSetup,
)
from llamawire_server.worker.wire import ConnectionClosedError, Inbox, frame


def end_by(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


class Answer:
    """The numbers that a request still gets."""

    def __init__(self, request: Generate) -> None:
        self.request = request
        self.word, *self.arguments = str(request.prompt.messages[0]["content"]).split()
        self.has_begun = False
        self.tokens = list(request.progress.choices[0].tokens) if request.progress else []
        self.num_new_tokens = 0
        self.is_over = False

    def begin(self) -> list[Event]:
        """What is said before a step."""
        has_begun, self.has_begun = self.has_begun, self.word != "queue"
        return [] if has_begun or not self.has_begun else [Started(self.request.request_id, time.monotonic())]

    def step(self) -> list[Event]:
        number = len(self.tokens)
        if self.word == "poison" and number == int(self.arguments[0]):
            end_by(signal.SIGABRT)
        if self.word == "hang" and number == int(self.arguments[0]):
            time.sleep(600)
        if (
            self.word == "die"
            and self.num_new_tokens == int(self.arguments[0])
            and number < int(self.arguments[2])
        ):
            end_by(int(self.arguments[1]))
        if self.word in ("wait", "queue"):
            return []
        self.tokens.append(number)
        self.num_new_tokens += 1
        self.is_over = len(self.tokens) == self.request.max_tokens
        # Every third number is held back, as text is that may still become a stop string.
        held = f"{number - 1} " if number and number % 3 == 0 else ""
        text = f"{held}{number} " if number % 3 != 2 or self.is_over else ""
        request_id = self.request.request_id
        events: list[Event] = [TextDelta(request_id, 0, text, [number], "length" if self.is_over else "")]
        if self.is_over:
            events.append(Completed(request_id, 1, 0, len(self.tokens), 0.0, 0.0, 0.0))
        return events


def load(connection: socket.socket, path: str) -> bool:
    """Whether the model is there. Its file is called what it does; one that exists says it."""
    if path.startswith("/proc/self/fd/"):
        path = Path(path).read_text()
    connection.sendall(frame(Loading(0.5)))
    word, *arguments = path.split()
    if word == "refuse":
        connection.sendall(frame(LoadFailed("no tensors")))
        return False
    if word == "crash":
        end_by(signal.SIGABRT)
    if word == "hang":
        time.sleep(600)
    if word == "stop":
        end_by(signal.SIGSTOP)
    if word in ("killed-first", "refuse-later"):
        # What is remembered from one process to the next.
        mark = Path(arguments[0])
        is_first = not mark.exists()
        mark.touch()
        if word == "killed-first" and is_first:
            end_by(signal.SIGKILL)
        if word == "refuse-later" and not is_first:
            connection.sendall(frame(LoadFailed("the file is gone")))
            return False
    return True


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    kinds: Any = WorkerSetup
    (setup,) = Inbox[WorkerSetup](connection, kinds).receive(None)
    if not load(connection, setup.path):
        return
    connection.sendall(frame(Loaded(1, 2, 3, 4, 5, 6, 7, 0.001, has_chat_template=False)))
    requests: Any = Request
    inbox = Inbox[Any](connection, requests)
    cancelled: list[int] = []
    answers: dict[int, Answer] = {}
    while True:
        for request in inbox.receive(0.0 if answers else None):
            if isinstance(request, Cancel):
                cancelled.append(request.request_id)
                answers.pop(request.request_id, None)
            elif isinstance(request, Generate):
                answers[request.request_id] = Answer(request)
                connection.sendall(frame(Events([Taken(request.request_id)])))
            elif isinstance(request, Tokenize) and request.text == "cancelled?":
                connection.sendall(frame(Events([Tokens(request.request_id, cancelled, [])])))
            elif isinstance(request, Tokenize) and request.text.startswith("signal "):
                end_by(int(request.text.split()[1]))
            elif isinstance(request, Tokenize) and request.text == "grow":
                connection.sendall(frame(Memory(8)) + frame(Events([Tokens(request.request_id, [], [])])))
            elif isinstance(request, Tokenize) and request.text == "busy":
                busy = Failed(request.request_id, "BUSY", "DEADLINE_UNREACHABLE", "late", retry_seconds=7.5)
                connection.sendall(frame(Events([busy])))
            elif isinstance(request, Tokenize) and request.text == "nonsense":
                connection.sendall(b"\0\0\0\1\xc1")
            elif isinstance(request, Tokenize) and request.text == "do not end":
                connection.sendall(frame(Events([Tokens(request.request_id, [], [])])))
                time.sleep(600)
        begun = [event for answer in answers.values() for event in answer.begin()]
        if begun:
            connection.sendall(frame(Events(begun)))
        events = [event for answer in answers.values() for event in answer.step()]
        answers = {number: answer for number, answer in answers.items() if not answer.is_over}
        if answers or events:
            connection.sendall(frame(Events(events)))
            time.sleep(0.001)


if __name__ == "__main__":
    with contextlib.suppress(ConnectionClosedError):
        main()
