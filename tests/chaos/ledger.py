"""What was asked, what was done to the server meanwhile, and what came of it."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from answers import Answer, RefusedError
from questions import Question

# Deaths that a request was there at may be held against it, by this weight and from this sum on.
FAULT_WEIGHT = 2
KILL_WEIGHT = 1
SUSPICIOUS_WEIGHT = 4

# How much later than a trouble its effect may come. Whether a worker hangs is seen only while it has work.
AFTER_EFFECT_SECONDS = 1.0
HANG_EFFECT_SECONDS = 15.0

# Text may be cut into other tokens than it was made of: mostly where they were drawn by chance.
GREEDY_TOLERANCE = 1
SAMPLED_TOLERANCE = 4

BUSY_REASONS = {"", "ALL_MODELS_BUSY", "MEMORY_BUDGET_FULL", "QUEUE_FULL", "DEADLINE_UNREACHABLE"}


@dataclass
class Trouble:
    """Something that was done to a model."""

    kind: str
    model: str
    """Empty: it may have been any."""

    end: float = math.inf
    """When it can't be the cause of anything any more, by time.monotonic."""


@dataclass
class Ledger:
    """The account of one run."""

    num_asked: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    troubles: list[Trouble] = field(default_factory=list)
    wrongs: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0
    """What the slowest answer took, with all that was refused before it."""

    @contextlib.contextmanager
    def trouble(
        self, kind: str, model: str = "", effect_seconds: float = AFTER_EFFECT_SECONDS
    ) -> Iterator[None]:
        """Note a trouble that begins now and ends with the context."""
        trouble = Trouble(kind, model)
        self.troubles.append(trouble)
        try:
            yield
        finally:
            trouble.end = time.monotonic() + effect_seconds

    def note_wrong(self, what: str) -> None:
        """Something that must not be."""
        self.wrongs.append(what)

    def note_refusal(self, refusal: RefusedError) -> None:
        """A request got an error that was to be expected."""
        self.refusals[f"{refusal.code} {refusal.reason}".rstrip()] += 1

    def is_excused(self, refusal: RefusedError, model: str, began: float) -> bool:
        """Whether an error of a request that began then was provoked."""
        if refusal.code == "RESOURCE_EXHAUSTED":
            # There are fewer places than models.
            return refusal.reason in BUSY_REASONS and refusal.retry_seconds is not None
        kinds = [
            trouble.kind for trouble in self.troubles if trouble.model in (model, "") and trouble.end > began
        ]
        if refusal.code == "UNAVAILABLE":
            # Unloading a model that is being loaded sends away who waits for it.
            was_unloaded = "unload" in kinds or "unload, cancelling" in kinds
            is_right = refusal.reason in ("", "MODEL_UNLOADED") and refusal.retry_seconds is not None
            return was_unloaded and is_right
        if refusal.code == "CANCELLED":
            return refusal.reason in ("", "MODEL_UNLOADED") and "unload, cancelling" in kinds
        if refusal.code == "INTERNAL":
            faults = sum(kind in ("SIGABRT", "SIGSEGV") for kind in kinds)
            kills = sum(kind in ("SIGKILL", "SIGSTOP", "SIGTERM") for kind in kinds)
            if "could not be loaded" in str(refusal):
                return faults > 0
            return faults * FAULT_WEIGHT + kills * KILL_WEIGHT >= SUSPICIOUS_WEIGHT
        return False


class Verdict:
    """Compares answers with the undisturbed ones."""

    def __init__(self, ledger: Ledger, undisturbed: Mapping[Question, Answer]) -> None:
        self.uncompared: list[tuple[Question, Answer, str]] = []
        """Answers that have nothing to be compared with, and how they were asked for."""
        self._ledger = ledger
        self._undisturbed = undisturbed

    def judge(self, question: Question, answer: Answer, how: str) -> None:
        """Note how an answer compares. how: it was asked for, for people."""
        if fault := self._fault_in_length(question, answer):
            self._note(question, answer, how, fault)
        if question.temperature:
            self._ledger.outcomes["sampled"] += 1
            self.uncompared.append((question, answer, how))
            return
        expected = self._undisturbed[question]
        if answer == expected:
            self._ledger.outcomes["equal"] += 1
        elif question.is_plain:
            self._note(question, answer, how, "it is another answer than the undisturbed one")
        elif answer.texts[0][:1] != expected.texts[0][:1]:
            self._note(question, answer, how, "it begins otherwise")
        elif answer.prompt_tokens != expected.prompt_tokens:
            self._note(question, answer, how, "its prompt has another length")
        else:
            self._ledger.outcomes["parted at a tie"] += 1
            self.uncompared.append((question, answer, how))

    def judge_length(self, question: Question, answer: Answer, how: str, num_tokens: int) -> None:
        """Note whether the texts of an answer have as many tokens as it is said to have. num_tokens: counted anew."""
        # A token that ends an answer is no text.
        expected = answer.completion_tokens - answer.finish_reasons.count("stop")
        tolerance = SAMPLED_TOLERANCE if question.temperature else GREEDY_TOLERANCE
        if abs(num_tokens - expected) > tolerance:
            self._note(question, answer, how, f"its text has {num_tokens} tokens")

    def _fault_in_length(self, question: Question, answer: Answer) -> str:
        most = question.max_tokens * question.num_choices
        if answer.completion_tokens > most:
            return "it is too long"
        if answer.completion_tokens < most and set(answer.finish_reasons) == {"length"}:
            return "it says that it was cut for its length, and was not as long as it might be"
        return ""

    def _note(self, question: Question, answer: Answer, how: str, fault: str) -> None:
        expected = self._undisturbed.get(question)
        self._ledger.outcomes["wrong"] += 1
        self._ledger.note_wrong(f"{how}: {fault}\n  {question}\n  was {answer}\n  not {expected}")
