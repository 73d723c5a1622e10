"""Answers as callers get them, held to their form while they come in."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    texts: tuple[str, ...]
    """By choice."""
    finish_reasons: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Usage:
    """What an answer cost."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class MalformedError(Exception):
    """An answer that no server may give, whatever happened to it."""


class RefusedError(Exception):
    """A request that got an error in place of an answer."""

    def __init__(self, code: str, reason: str, message: str, retry_seconds: float | None) -> None:
        """code: gRPC's name for it. reason: empty where the transport does not tell it."""
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_seconds = retry_seconds

    def __str__(self) -> str:
        return f"{self.code} {self.reason}: {super().__str__()}"


@dataclass
class _Choice:
    text: str = ""
    has_role: bool = False
    finish_reason: str = ""


@dataclass
class AnswerBuilder:
    """Puts a stream's chunks together. Its methods raise MalformedError."""

    num_choices: int
    ids: set[str] = field(default_factory=set)
    usage: Usage | None = None
    _choices: dict[int, _Choice] = field(default_factory=dict)

    def begin_chunk(self, answer_id: str) -> None:
        """Another chunk comes in."""
        self.ids.add(answer_id)
        self._check(len(self.ids) == 1, f"one answer has several ids: {self.ids}")
        self._check(self.usage is None, "there is a chunk after the usage")

    def add(self, index: int, *, has_role: bool, text: str, finish_reason: str) -> None:
        """What the chunk has of one choice."""
        is_first = index not in self._choices
        choice = self._choices.setdefault(index, _Choice())
        self._check(index < self.num_choices, f"there is a choice {index} of {self.num_choices}")
        self._check(has_role == is_first, f"choice {index} names its role {'late' if is_first else 'again'}")
        self._check(not choice.finish_reason, f"there is more of choice {index} after its end")
        choice.text += text
        choice.finish_reason = finish_reason

    def end_chunk(self, usage: Usage | None) -> None:
        """The chunk has no more choices."""
        self.usage = usage

    def build(self) -> Answer:
        """The answer, now that the stream has ended well."""
        choices = [self._choices.get(index, _Choice()) for index in range(self.num_choices)]
        reasons = tuple(choice.finish_reason for choice in choices)
        self._check(all(reasons), f"a stream ended well before all of its choices did: {reasons}")
        self._check(self.usage is not None, "a stream ended well without its usage")
        assert self.usage is not None
        return check_answer(tuple(choice.text for choice in choices), reasons, self.usage)

    def _check(self, is_right: bool, what_is_wrong: str) -> None:
        if not is_right:
            raise MalformedError(what_is_wrong)


def check_answer(texts: tuple[str, ...], finish_reasons: tuple[str, ...], usage: Usage) -> Answer:
    """An answer of these parts. Raises MalformedError where they don't fit together."""
    if usage.total_tokens != usage.prompt_tokens + usage.completion_tokens or not usage.prompt_tokens:
        raise MalformedError(f"the usage does not add up: {usage}")
    if not set(finish_reasons) <= {"stop", "length"}:
        raise MalformedError(f"an answer ended for the reasons {finish_reasons}")
    return Answer(texts, finish_reasons, usage.prompt_tokens, usage.completion_tokens)
