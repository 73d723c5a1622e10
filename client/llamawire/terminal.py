"""A chat on a terminal: one answer, or a conversation that remembers."""

from __future__ import annotations

import contextlib
import importlib
import sys

from google.protobuf import json_format

from llamawire.chat import assistant, system, user
from llamawire.chat_request import ChatOptions
from llamawire.client import Client
from llamawire.completion import Completion
from llamawire.errors import LlamawireError
from llamawire.interrupts import open_uninterrupted
from llamawire.stream import ChatStream
from llamawire.v1 import chat_pb2

HELP = """\
/system TEXT   give the model instructions; without TEXT, take them back
/clear         forget the conversation
/exit          leave (Ctrl-D does, too)
Ctrl-C stops an answer.
"""


class TerminalChat:
    """Asks a model and writes what it says to standard output as it comes."""

    def __init__(
        self, client: Client, options: ChatOptions, *, system_text: str | None = None, verbose: bool = False
    ) -> None:
        """`options` go into every request, beside its messages."""
        self._client = client
        self._options = options
        self._system_text = system_text
        self._verbose = verbose
        self._history: list[chat_pb2.Message] = []

    def answer(self, prompt: str) -> None:
        """Write the answer to one prompt. Raises LlamawireError where there is none."""
        self._history.append(user(prompt))
        with self._open_stream() as stream:
            self._write(stream)

    def answer_as_json(self, prompt: str) -> None:
        """Write the whole answer to one prompt as JSON. Raises LlamawireError where there is none."""
        self._history.append(user(prompt))
        completion = self._client.chat.create(**self._request())
        as_json = json_format.MessageToJson(completion.proto, preserving_proto_field_name=True)
        sys.stdout.write(as_json + "\n")
        if self._verbose:
            _report(completion)

    def converse(self) -> None:
        """Read prompts and write answers, until the person leaves."""
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # gives `input` line editing, where the platform has it
        sys.stderr.write(f"{self._options.get('model')}; /help tells what there is\n")
        while True:
            try:
                line = input("> ").strip()
            except EOFError:
                sys.stdout.write("\n")
                return
            except KeyboardInterrupt:
                sys.stdout.write("\n")
                continue
            if line == "/exit":
                return
            if line.startswith("/"):
                self._obey(line)
            elif line:
                self._take_turn(line)

    def _obey(self, line: str) -> None:
        command, _, argument = line.partition(" ")
        if command == "/clear":
            self._history.clear()
        elif command == "/system":
            self._system_text = argument.strip() or None
        else:
            sys.stderr.write(HELP if command == "/help" else f"there is no {command}\n{HELP}")

    def _take_turn(self, prompt: str) -> None:
        """Ask; what was said before a failure or Ctrl-C stays part of the conversation."""
        self._history.append(user(prompt))
        stream: ChatStream | None = None
        try:
            with self._open_stream() as stream:
                self._write(stream)
        except KeyboardInterrupt:
            sys.stderr.write("(stopped)\n")
        except LlamawireError as error:
            sys.stderr.write(f"llamawire: {error}\n")
        if stream is not None and (said := stream.completion.text):
            self._history.append(assistant(said))
        else:
            self._history.pop()

    def _open_stream(self) -> ChatStream:
        return open_uninterrupted(lambda: self._client.chat.stream(**self._request()))

    def _request(self) -> ChatOptions:
        instructions = [system(self._system_text)] if self._system_text else []
        return {**self._options, "messages": [*instructions, *self._history]}

    def _write(self, stream: ChatStream) -> None:
        is_line_open = False
        try:
            for chunk in stream:
                if self._verbose and chunk.reasoning:
                    sys.stderr.write(chunk.reasoning)
                if chunk.text:
                    sys.stdout.write(chunk.text)
                    sys.stdout.flush()
                    is_line_open = not chunk.text.endswith("\n")
        finally:
            if is_line_open:
                sys.stdout.write("\n")
                sys.stdout.flush()
        if self._verbose:
            _report(stream.completion)
        elif stream.completion.finish_reason == "length":
            sys.stderr.write(f"(cut off after {stream.completion.usage.completion_tokens} tokens)\n")


def _report(completion: Completion) -> None:
    usage, timings = completion.usage, completion.timings
    report = (
        f"{completion.model}: {usage.prompt_tokens} prompt tokens ({usage.prompt_cache_hit_tokens} cached), "
        f"{usage.completion_tokens} generated ({completion.finish_reason}); "
        f"{timings.first_token_seconds:.2f} s to the first token"
    )
    if timings.generation_seconds > 0:
        # The first token is there when this time begins.
        report += f", {(usage.completion_tokens - 1) / timings.generation_seconds:.1f} tokens/s"
    sys.stderr.write(report + "\n")
