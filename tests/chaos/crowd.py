"""Callers who ask one thing after the other: most wait for their answers, some leave, some are in a hurry."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence

import httpx
from answers import Answer, MalformedError, RefusedError
from calls import Way
from ledger import Ledger, Verdict
from questions import Question

# Nobody waits for longer than this: an answer that takes more time is not going to come.
PATIENCE_SECONDS = 180.0

# The longest wait before a refused request is sent again, whatever the server asks for: impatience is harmless.
LONGEST_PAUSE_SECONDS = 1.0

MOODS = ("patient", "leaving", "hurried", "unwilling to wait")
WEIGHTS = (70, 12, 10, 8)


class Caller:
    """One of the crowd."""

    def __init__(
        self,
        ledger: Ledger,
        verdict: Verdict,
        ways: Mapping[str, Way],
        questions: Sequence[Question],
        seed: str,
    ) -> None:
        self._ledger = ledger
        self._verdict = verdict
        self._ways = ways
        self._questions = questions
        self._random = random.Random(seed)

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Ask until then, and wait for the last answer."""
        while not is_over():
            question = self._random.choice(self._questions)
            name = self._random.choice([*self._ways])
            (mood,) = self._random.choices(MOODS, WEIGHTS)
            seconds = self._random.expovariate(1.0) + 0.02
            self._ledger.num_asked += 1
            began = time.monotonic()
            how = f"{name}, {mood}"
            try:
                asking = self._ask(mood, seconds, self._ways[name], question, how)
                await asyncio.wait_for(asking, PATIENCE_SECONDS)
            except asyncio.TimeoutError:
                self._ledger.note_wrong(f"{how}: no answer in {PATIENCE_SECONDS:g} s\n  {question}")
            except MalformedError as error:
                self._ledger.note_wrong(f"{how}: {error}\n  {question}")
            except RefusedError as error:
                after = time.monotonic() - began
                self._ledger.note_wrong(f"{how}: refused after {after:.1f} s: {error}\n  {question}")
            except httpx.HTTPError as error:
                self._ledger.note_wrong(f"{how}: the connection failed: {error!r}\n  {question}")

    async def _ask(self, mood: str, seconds: float, way: Way, question: Question, how: str) -> None:
        if mood == "patient":
            began = time.monotonic()
            answer = await self._insist(way, question)
            self._ledger.longest_seconds = max(self._ledger.longest_seconds, time.monotonic() - began)
            self._verdict.judge(question, answer, how)
        elif mood == "leaving":
            await self._leave(way, question, how, seconds)
        elif mood == "hurried":
            await self._hurry(way, question, how, seconds)
        else:
            await self._refuse_to_wait(way, question, how)

    async def _insist(self, way: Way, question: Question) -> Answer:
        """Ask until there is an answer. Raises RefusedError where it was refused for no reason."""
        while True:
            began = time.monotonic()
            try:
                return await way(question, None, True)
            except RefusedError as refusal:
                if not self._ledger.is_excused(refusal, question.model, began):
                    raise
                self._ledger.note_refusal(refusal)
                await asyncio.sleep(min(refusal.retry_seconds or 0.0, LONGEST_PAUSE_SECONDS))

    async def _leave(self, way: Way, question: Question, how: str, seconds: float) -> None:
        try:
            answer = await asyncio.wait_for(self._insist(way, question), seconds)
        except asyncio.TimeoutError:
            self._ledger.outcomes["left by their callers"] += 1
        else:
            self._verdict.judge(question, answer, how)

    async def _hurry(self, way: Way, question: Question, how: str, seconds: float) -> None:
        began = time.monotonic()
        try:
            answer = await way(question, seconds, True)
        except RefusedError as refusal:
            if refusal.code == "DEADLINE_EXCEEDED":
                self._ledger.outcomes["too late for their callers"] += 1
            elif self._ledger.is_excused(refusal, question.model, began):
                self._ledger.note_refusal(refusal)
            else:
                raise
        else:
            self._verdict.judge(question, answer, how)

    async def _refuse_to_wait(self, way: Way, question: Question, how: str) -> None:
        began = time.monotonic()
        try:
            answer = await way(question, None, False)
        except RefusedError as refusal:
            is_told_to_return = refusal.code == "UNAVAILABLE" and refusal.retry_seconds is not None
            is_loading = is_told_to_return and refusal.reason in ("", "MODEL_LOADING")
            if not is_loading and not self._ledger.is_excused(refusal, question.model, began):
                raise
            self._ledger.note_refusal(refusal)
        else:
            self._verdict.judge(question, answer, how)
