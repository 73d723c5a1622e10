"""`llamawire` as a person runs it: on a terminal, in a pipe, against the real server."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from callers import PATIENCE_SECONDS, wait_until
from servers import RunningServer, ask

from llamawire.v1 import chat_pb2

COMMAND = str(Path(sys.executable).parent / "llamawire")
STORY = "Write a story about a fox."
SHORT = ("--temperature", "0", "--max-tokens", "16")


def run(server: RunningServer, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env={**os.environ, "LLAMAWIRE_TARGET": server.grpc_address},
    )


# The first terminal that a new session opens becomes its own, so that Ctrl-C typed there goes to it.
TAKE_TERMINAL = (
    "import os, sys; os.close(os.open(sys.argv[1], os.O_RDWR)); os.execv(sys.argv[2], sys.argv[2:])"
)


class Terminal:
    """A person's terminal, on which a command runs."""

    def __init__(self, server: RunningServer, *arguments: str) -> None:
        self._screen, inside = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, os.ttyname(inside), COMMAND, *arguments],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            env={**os.environ, "LLAMAWIRE_TARGET": server.grpc_address, "TERM": "dumb"},
        )
        os.close(inside)
        self.seen = ""
        self._unread = ""

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def read_until(self, mark: str) -> str:
        """What is shown until `mark` is."""
        assert self._shows(mark, PATIENCE_SECONDS), f"{mark!r} never came: {self.seen!r}"
        read, self._unread = self._unread.split(mark, 1)
        return read

    def interrupt_prompt(self) -> None:
        """Ctrl-C at the prompt, until there is another one.

        A key that comes in the very moment when a prompt is shown finds Python's `input` not ready for it,
        and is lost.
        """
        for _ in range(PATIENCE_SECONDS):
            self.type("\x03")
            if self._shows("> ", 1):
                self.read_until("> ")
                return
        pytest.fail(f"there is no new prompt: {self.seen!r}")

    def leave(self) -> int:
        """Ctrl-D at the prompt, until the command ends; gives its exit code."""
        for _ in range(PATIENCE_SECONDS):
            self.type("\x04")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(1)
        pytest.fail(f"the command does not end: {self.seen!r}")

    def _shows(self, mark: str, seconds: float) -> bool:
        """Whether `mark` is shown before nothing more comes for so long."""
        while mark not in self._unread:
            ready, _, _ = select.select([self._screen], [], [], seconds)
            if not ready:
                return False
            piece = os.read(self._screen, 4096).decode("utf-8", "replace")
            self._unread += piece
            self.seen += piece
        return True

    def end(self) -> None:
        """End the command, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._screen)


@pytest.fixture
def terminal(server: RunningServer) -> Iterator[Terminal]:
    """A conversation that has begun."""
    started = Terminal(server, "chat", "--temperature", "0", "--max-tokens", "1000", "--stop", "\x01")
    started.read_until("> ")
    yield started
    started.end()


def test_a_prompt_is_answered(server: RunningServer) -> None:
    expected = server.chat.CreateChatCompletion(ask(STORY)).choices[0].message.content
    given = run(server, "chat", STORY, *SHORT)
    cut_off = "(cut off after 16 tokens)\n"
    assert (given.returncode, given.stdout, given.stderr) == (0, expected + "\n", cut_off)
    piped = run(server, "chat", *SHORT, "-v", stdin=STORY + "\n")
    assert (piped.returncode, piped.stdout) == (0, expected + "\n")
    assert "16 generated (length)" in piped.stderr


def test_the_whole_answer_as_json(server: RunningServer) -> None:
    given = run(server, "chat", STORY, *SHORT, "--json")
    assert json.loads(given.stdout)["usage"]["completion_tokens"] == 16


def test_models_are_listed(server: RunningServer) -> None:
    listed = run(server, "models", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    (line,) = [line.split() for line in listed.stdout.splitlines() if "smollm2" in line]
    assert line[:3] == ["smollm2", "ready", "llama"]
    assert line[-1] == "8192"
    as_json = json.loads(run(server, "models", "list", "--json").stdout)
    assert [model["name"] for model in as_json] == ["smollm2"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--model", "smollm3"), "smollm3"),
        (("--temperature", "9"), "temperature: is 9"),
        (("--timeout", "0.2", "--max-tokens", "4000"), "eadline"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(
    server: RunningServer, arguments: tuple[str, ...], complaint: str
) -> None:
    failed = run(server, "chat", STORY, *arguments)
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith("llamawire: ")
    assert complaint in line
    wait_until(lambda: server.model().active_requests == 0)


def test_a_server_that_is_not_there(server: RunningServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        failed = run(server, "chat", STORY, "--target", target)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"llamawire: can't reach a llamawire server at {target}")
    assert len(failed.stderr.splitlines()) == 1


def test_a_conversation_of_two_turns(server: RunningServer) -> None:
    """The second answer is one to the whole conversation."""
    first = server.chat.CreateChatCompletion(ask(STORY)).choices[0].message
    both = ask(STORY)
    both.messages.append(first)
    both.messages.add(role=chat_pb2.ROLE_USER, content="Go on.")
    second = server.chat.CreateChatCompletion(both).choices[0].message
    terminal = Terminal(server, "chat", *SHORT)
    try:
        terminal.read_until("> ")
        terminal.type(f"{STORY}\n")
        assert plain(first.content) in plain(terminal.read_until("\n> "))
        terminal.type("Go on.\n")
        assert plain(second.content) in plain(terminal.read_until("\n> "))
        terminal.type("/exit\n")
        assert terminal.process.wait(PATIENCE_SECONDS) == 0
    finally:
        terminal.end()


def plain(text: str) -> str:
    """The text whatever a terminal made of its line ends."""
    return " ".join(text.split())


def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(
    server: RunningServer, terminal: Terminal
) -> None:
    terminal.type("Write a very long story about a fox.\n")
    wait_until(lambda: server.model().active_requests == 1)
    terminal.read_until("fox.")  # the echo of what was typed
    terminal.read_until(" ")
    terminal.type("\x03")
    terminal.read_until("(stopped)")
    wait_until(lambda: server.model().active_requests == 0)
    terminal.read_until("> ")
    terminal.interrupt_prompt()
    terminal.type("Go on.\n")
    wait_until(lambda: server.model().active_requests == 1)
    terminal.type("\x03")
    terminal.read_until("(stopped)")
    terminal.read_until("> ")
    assert terminal.leave() == 0
    assert "Traceback" not in terminal.seen


def test_an_unknown_model_leaves_the_conversation_open(server: RunningServer) -> None:
    terminal = Terminal(server, "chat", "--model", "smollm3")
    try:
        terminal.read_until("> ")
        terminal.type("Hello\n")
        assert "smollm3" in terminal.read_until("\n> ").partition("llamawire: ")[2]
        assert terminal.leave() == 0
    finally:
        terminal.end()


def test_sigint_ends_a_single_answer(server: RunningServer) -> None:
    process = subprocess.Popen(
        [COMMAND, "chat", "Write a very long story about a fox.", "--max-tokens", "4000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LLAMAWIRE_TARGET": server.grpc_address},
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 130
        assert process.stderr.read() == b""
    wait_until(lambda: server.model().active_requests == 0)
