"""What a worker answers at once: text, tokens, prompts."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted_worker import END, Bytes

from llamawire_server.chat.template import ChatTemplate
from llamawire_server.worker.child.desk import Desk
from llamawire_server.worker.child.outbox import Outbox
from llamawire_server.worker.child.prompts import PromptBuilder
from llamawire_server.worker.child.refusals import NoEmbeddings, NoGenerations
from llamawire_server.worker.messages import (
    ChatPrompt,
    CountTokens,
    Event,
    Failed,
    RenderedPrompt,
    RenderPrompt,
    Report,
    Request,
    TokenCount,
    Tokenize,
    Tokens,
)
from llamawire_server.worker.wire import Inbox, frame

CONTEXT_LENGTH = 100

Ask = Callable[[Request], list[Event]]


class BytesWithEnd(Bytes):
    """Bytes, and `$` as the name of the end token."""

    def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, limit: int | None = None
    ) -> list[int]:
        tokens = super().tokenize(text, add_special=add_special, parse_special=parse_special, limit=limit)
        return [END if parse_special and token == ord("$") else token for token in tokens]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Asks a worker, whose template writes the messages one after the other."""
    ours, theirs = socket.socketpair()
    kinds: Any = (Request, Report)
    vocabulary: Any = BytesWithEnd()
    template = ChatTemplate(
        "{% for message in messages %}{{ message.content }}${% endfor %}{{ '' if add_generation_prompt else '.' }}"
    )
    desk = Desk(
        vocabulary,
        PromptBuilder(vocabulary, template, CONTEXT_LENGTH),
        NoGenerations("no"),
        Outbox(theirs),
        embeddings=NoEmbeddings("no"),
        context_length=CONTEXT_LENGTH,
        memory_bytes=1 << 60,
    )
    questions, answers = Inbox[Any](theirs, kinds[0]), Inbox[Any](ours, kinds[1])

    def ask(request: Request) -> list[Event]:
        ours.sendall(frame(request))
        desk.turn(questions)
        (report,) = answers.receive(None)
        events: list[Event] = report.events
        return events

    with ours, theirs:
        yield ask


def prompt(*texts: str) -> ChatPrompt:
    return ChatPrompt([{"role": "user", "content": text} for text in texts])


def test_a_prompt_is_shown_as_text_and_as_the_tokens_that_are_computed(ask: Ask) -> None:
    assert ask(RenderPrompt(7, 0.0, prompt("a", "b"))) == [
        RenderedPrompt(7, "a$b$", [ord("^"), ord("a"), END, ord("b"), END])
    ]
    assert ask(CountTokens(8, 0.0, prompt("a", "b"))) == [TokenCount(8, 5, CONTEXT_LENGTH)]


def test_a_prompt_is_shown_as_far_as_it_is_asked_for(ask: Ask) -> None:
    (shown,) = ask(RenderPrompt(7, 0.0, prompt("a"), add_generation_prompt=False))
    assert isinstance(shown, RenderedPrompt)
    assert shown.text == "a$."


def test_a_prompt_that_begins_as_the_model_wants_gets_nothing_in_front(ask: Ask) -> None:
    assert ask(RenderPrompt(7, 0.0, prompt("^a"))) == [RenderedPrompt(7, "^a$", [ord("^"), ord("a"), END])]


def test_a_prompt_that_is_far_too_long_is_not_shown(ask: Ask) -> None:
    (failed,) = ask(RenderPrompt(7, 0.0, prompt("x" * 5000)))
    assert isinstance(failed, Failed)
    assert (failed.request_id, failed.reason) == (7, "CONTEXT_LENGTH_EXCEEDED")


@pytest.mark.parametrize(("unparse_special", "piece"), [(False, b""), (True, b"<end>")])
def test_pieces_of_control_tokens(ask: Ask, unparse_special: bool, piece: bytes) -> None:
    request = Tokenize(7, "a$", add_special=False, parse_special=True, unparse_special=unparse_special)
    assert ask(request) == [Tokens(7, [ord("a"), END], [b"a", piece])]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["a"], "^a"),
        (["a$", [*b"b"], "", "c"], "^a$bc"),
        ([[*b"a"], "b"], "ab"),
        ([[*b"ab"]], "ab"),
        (["", [*b"a"]], "^a"),
    ],
)
def test_of_several_parts_only_a_text_that_comes_first_begins_as_the_model_wants(
    ask: Ask, parts: list[str | list[int]], expected: str
) -> None:
    tokens = [END if byte == ord("$") else byte for byte in expected.encode()]
    asked = Tokenize(7, "", add_special=True, parse_special=True, unparse_special=True, parts=parts)
    (answer,) = ask(asked)
    assert isinstance(answer, Tokens)
    assert answer.tokens == tokens
    assert answer.pieces == [b"<end>" if token == END else bytes([token]) for token in tokens]
