"""How many tokens are worth guessing: as many as pay, by what steps of so many tokens were seen to take."""

from __future__ import annotations

from typing import Protocol

from llamawire_server.engine.drafting.step_times import StepTimes
from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.step import Draft

# Drafts are of one of these lengths, or shorter where nothing more is to be guessed.
LENGTHS = (2, 4, 8, 16, 32)

# What a draft must promise: so many times the tokens that would come without one in the time that it takes. What was
# measured is uncertain, and a guess that fails holds others up.
LEAST_GAIN = 1.2


class BatchDrafter(Protocol):
    """Guesses for all sequences of a step together, which takes time: a draft model."""

    def begin(self, sequences: list[Sequence]) -> None:
        """These decode in the step that comes."""
        ...

    def acceptance(self, sequence: Sequence) -> float:
        """How likely the next token of a draft for the sequence is right. 0 where nothing is to be guessed."""
        ...

    def seconds(self, sequences: list[Sequence], length: int) -> float:
        """How long it is likely to take to guess `length` tokens for each of them, who all have begun."""
        ...

    def draft(self, wanted: list[tuple[Sequence, int]]) -> list[Draft]:
        """What may come next: of each sequence so many tokens or fewer, or none."""
        ...

    def rest(self) -> None:
        """Nothing is guessed in this step, as it would not pay."""
        ...

    def forget(self, sequence: Sequence) -> None:
        """The sequence has ended."""
        ...


class Speculation:
    """Decides for each sequence of a step how much of its future to guess."""

    def __init__(self, token_seconds: float, model: BatchDrafter | None = None) -> None:
        """token_seconds: how long a token takes that is computed by itself. model: guesses where the sequences' own
        drafters have nothing to guess."""
        self.times = StepTimes(token_seconds)
        self._model = model

    def drafts(self, decoding: list[tuple[Sequence, int]], room: int) -> list[Draft]:
        """What to compute beside the next token of each sequence of a step that has no others.

        decoding: each with the most tokens that it has use for. room: the most tokens of all drafts together.
        """
        drafts: list[Draft] = []
        num_step_tokens = len(decoding)
        for sequence, most in decoding:
            draft = self._look_up(sequence, min(most, room), num_step_tokens)
            drafts.append(draft)
            num_step_tokens += len(draft.tokens)
            room -= len(draft.tokens)
        if self._model is not None:
            self._ask(self._model, decoding, drafts, room, num_step_tokens)
        return drafts

    def forget(self, sequence: Sequence) -> None:
        """The sequence has ended."""
        if self._model is not None:
            self._model.forget(sequence)

    def _look_up(self, sequence: Sequence, most: int, num_step_tokens: int) -> Draft:
        """What the sequence has to go on with, where there is no choice, or what its own drafter guesses.

        num_step_tokens: those that the step has already, each of which brings one token.
        """
        if most < 1:
            return Draft()
        if sequence.constraint is not None and (forced := sequence.constraint.forced()):
            # They are right, and have to be computed anyway: together is never slower than one by one.
            return Draft(tuple(forced[: min(most, LENGTHS[-1])]))
        drafter = sequence.drafter
        if drafter is None:
            return Draft()
        ahead = _allowed(sequence, drafter.draft(sequence.tokens, min(most, LENGTHS[-1])))
        if not ahead:
            return Draft()
        length = self._best_length([(drafter.acceptance, len(ahead))], num_step_tokens, None, [])
        if not length:
            drafter.watch(ahead)
        return Draft(tuple(ahead[:length]), drafter)

    def _ask(
        self,
        model: BatchDrafter,
        decoding: list[tuple[Sequence, int]],
        drafts: list[Draft],
        room: int,
        num_step_tokens: int,
    ) -> None:
        """Let the model guess for those that have no draft yet."""
        model.begin([sequence for sequence, _ in decoding])
        share = room // max(1, sum(not draft.tokens for draft in drafts))
        places: list[int] = []
        chances: list[tuple[float, int]] = []
        for place, (sequence, most) in enumerate(decoding):
            if drafts[place].tokens or min(most, share) < 1:
                continue
            if acceptance := model.acceptance(sequence):
                places.append(place)
                chances.append((acceptance, min(most, share)))
        if not places:
            return
        sequences = [decoding[place][0] for place in places]
        length = self._best_length(chances, num_step_tokens, model, sequences)
        if not length:
            model.rest()
            return
        wanted = [
            (sequence, min(length, most)) for sequence, (_, most) in zip(sequences, chances, strict=True)
        ]
        for place, draft in zip(places, model.draft(wanted), strict=True):
            drafts[place] = _cut(decoding[place][0], draft)

    def _best_length(
        self,
        chances: list[tuple[float, int]],
        num_step_tokens: int,
        model: BatchDrafter | None,
        sequences: list[Sequence],
    ) -> int:
        """How many tokens to guess for each sequence, 0 where none pays.

        chances: of each its acceptance, and the most tokens that it can have. model: takes time to guess for
        `sequences`; None where guessing takes none.
        """
        longest = max(most for _, most in chances)
        seconds_without = self.times.seconds(num_step_tokens)
        rate_without = num_step_tokens / seconds_without
        best, best_rate = 0, rate_without
        for length in (min(length, longest) for length in LENGTHS):
            num_drafted, expected = 0, 0.0
            for acceptance, most in chances:
                num_drafted += min(length, most)
                expected += _num_expected(acceptance, min(length, most))
            seconds = self.times.seconds(num_step_tokens + num_drafted)
            if model is not None:
                seconds += model.seconds(sequences, length)
            rate = (num_step_tokens + expected) / seconds
            if rate > best_rate and expected > LEAST_GAIN * rate_without * (seconds - seconds_without):
                best, best_rate = length, rate
            if length == longest:
                break
        return best


def _allowed(sequence: Sequence, ahead: list[int]) -> list[int]:
    """As much of a guess as may come."""
    if sequence.constraint is None or not ahead:
        return ahead
    return ahead[: sequence.constraint.num_allowed(ahead)]


def _cut(sequence: Sequence, draft: Draft) -> Draft:
    """As much of a draft as may come. Who guessed nothing of that is told so: guessing took time."""
    allowed = _allowed(sequence, list(draft.tokens))
    if draft.tokens and not allowed and draft.source is not None:
        draft.source.note(len(draft.tokens), 0, len(sequence.tokens))
    return Draft(tuple(allowed), draft.source)


def _num_expected(acceptance: float, length: int) -> float:
    """How many tokens of a draft are right before the first that is not: p + p^2 + …"""
    if acceptance >= 1:
        return float(length)
    return acceptance * (1 - acceptance**length) / (1 - acceptance)
