"""Guessing what comes next with a smaller model, for all sequences of a step together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from llamawire_server.engine.budget import PromptBudget, StepTargets
from llamawire_server.engine.decode_errors import CacheFullError, DecodeError
from llamawire_server.engine.drafting.rows import DraftDecoder, DraftRows, Run
from llamawire_server.engine.drafting.step_times import StepTimes
from llamawire_server.engine.drafting.track_record import TrackRecord
from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.step import Draft

log = logging.getLogger(__name__)

# Who is behind by more has to catch up first: by now everybody is behind by one token, or two after a draft that was
# right to its end.
NEAR_TOKENS = 8

# How many tokens more a sequence is taken to get, at least, if it may: what catching up has to pay for itself in.
LIKELY_TOKENS = 64

# How much is guessed at first after a rest.
TRIAL_TOKENS = 2

# No step is so fast, whatever the clock says.
_LEAST_SECONDS = 1e-7


class ModelDrafting:
    """The `BatchDrafter` that has a model of its own.

    For each sequence it knows how often its guesses were right and pauses where they weren't; a new one is taken to
    be like those before. What its steps take is measured. Where they were found to take too long, that is forgotten
    after a while, a longer one each time: it may have been a matter of the moment.
    """

    _FIRST_REST_STEPS = 16
    _LONGEST_REST_STEPS = 512
    _MAX_OVERFLOWS = 8

    def __init__(
        self,
        decoder: DraftDecoder,
        token_seconds: float,
        targets: StepTargets | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """token_seconds: how long the draft model computes a token by itself. targets: what a step may last while the
        model catches up, about. clock: what its steps are measured by, in seconds."""
        self._decoder = decoder
        self._rows = DraftRows(decoder)
        self._clock = clock
        self._token_seconds = max(token_seconds, _LEAST_SECONDS)
        self._times = StepTimes(self._token_seconds)
        self._budget = PromptBudget(
            targets or StepTargets(), decoder.limits.batch_tokens, self._token_seconds
        )
        self._records: dict[Sequence, _Record] = {}
        self._common_record = _CommonRecord()
        self._rest_steps = self._FIRST_REST_STEPS
        self._num_rested_steps = 0
        self._num_drafted_steps = 0
        self._num_overflows = 0
        self._is_broken = False

    def begin(self, sequences: list[Sequence]) -> None:
        """These decode in the step that comes."""
        self._common_record.num_tokens += len(sequences)
        self._rows.claim([sequence for sequence in sequences if self.acceptance(sequence)])

    def acceptance(self, sequence: Sequence) -> float:
        """How likely the next token of a draft for the sequence is right. 0 where nothing is to be guessed."""
        if self._is_broken or self._num_places(sequence) < 1:
            return 0.0
        record = self._records.get(sequence)
        if record is None:
            return self._common_record.acceptance()
        return record.acceptance(len(sequence.tokens))

    def seconds(self, sequences: list[Sequence], length: int) -> float:
        """How long it is likely to take to guess `length` tokens for each of them, who all have begun.

        What catching up takes is spread over the tokens that a sequence is likely to get.
        """
        num_first_tokens, catch_up_seconds = 0, 0.0
        for sequence in sequences:
            num_pending = self._rows.num_pending(sequence)
            if num_pending <= NEAR_TOKENS:
                num_first_tokens += num_pending
                continue
            num_first_tokens += 1
            likely = min(
                max(LIKELY_TOKENS, sequence.num_output_tokens),
                max(1, sequence.max_tokens - sequence.num_output_tokens),
            )
            catch_up_seconds += (
                (num_pending - 1) * self._budget.token_seconds * min(1.0, (1 + length) / likely)
            )
        first_seconds = self._times.seconds(num_first_tokens)
        return catch_up_seconds + first_seconds + (length - 1) * self._times.seconds(len(sequences))

    def draft(self, wanted: list[tuple[Sequence, int]]) -> list[Draft]:
        """What may come next: of each sequence so many tokens or fewer, or none."""
        self._num_rested_steps = 0
        if not self._num_drafted_steps:
            # What it takes may not be known.
            wanted = [(sequence, min(most, TRIAL_TOKENS)) for sequence, most in wanted]
        self._num_drafted_steps += 1
        if self._num_drafted_steps >= self._FIRST_REST_STEPS:
            self._rest_steps = self._FIRST_REST_STEPS
        try:
            guesses = self._guess(wanted)
        except CacheFullError:
            # Its count and llama.cpp's disagree. To compute all again and again would be of no use.
            self._rows.clear()
            self._num_overflows += 1
            self._is_broken = self._num_overflows >= self._MAX_OVERFLOWS
            guesses = {}
        except DecodeError:
            log.exception("the draft model can't compute, and is not asked any more")
            self._is_broken = True
            guesses = {}
        return [
            Draft(tuple(guesses[sequence]), self._record(sequence)) if guesses.get(sequence) else Draft()
            for sequence, _ in wanted
        ]

    def rest(self) -> None:
        """Nothing is guessed in this step, as it would not pay."""
        self._num_drafted_steps = 0
        self._num_rested_steps += 1
        if self._num_rested_steps >= self._rest_steps:
            self._num_rested_steps = 0
            self._rest_steps = min(2 * self._rest_steps, self._LONGEST_REST_STEPS)
            self._times = StepTimes(self._token_seconds)

    def forget(self, sequence: Sequence) -> None:
        """The sequence has ended."""
        self._records.pop(sequence, None)
        self._rows.release(sequence)

    def _num_places(self, sequence: Sequence) -> int:
        """How many tokens can be guessed before the context ends."""
        return self._decoder.limits.context_length - len(sequence.tokens)

    def _record(self, sequence: Sequence) -> _Record:
        if sequence not in self._records:
            self._records[sequence] = _Record(self._common_record)
        return self._records[sequence]

    def _guess(self, wanted: list[tuple[Sequence, int]]) -> dict[Sequence, list[int]]:
        lengths = self._that_fit(wanted)
        self._rows.make_room(
            {sequence: len(sequence.tokens) + length for sequence, length in lengths.items()}
        )
        guesses: dict[Sequence, list[int]] = {}
        runs: dict[Sequence, list[int]] = {}
        for sequence in self._caught_up(list(lengths)):
            guesses[sequence] = []
            runs[sequence] = sequence.tokens[len(self._rows.row(sequence).tokens) :]
        while runs:
            answers = self._decode(runs)
            runs = {}
            for sequence, guess in answers.items():
                guesses[sequence].append(guess)
                if len(guesses[sequence]) < lengths[sequence] and guess not in self._decoder.end_token_ids:
                    runs[sequence] = [guess]
        return guesses

    def _that_fit(self, wanted: list[tuple[Sequence, int]]) -> dict[Sequence, int]:
        """Those for whom there are cells, and how much to guess for them."""
        lengths: dict[Sequence, int] = {}
        num_free_cells = self._decoder.limits.kv_cache_tokens
        for sequence, most in wanted:
            length = min(most, self._num_places(sequence))
            num_cells = len(sequence.tokens) + length
            if num_cells <= num_free_cells:
                lengths[sequence] = length
                num_free_cells -= num_cells
        return lengths

    def _caught_up(self, sequences: list[Sequence]) -> Iterator[Sequence]:
        """Those of whom the model has nearly all tokens, once it has computed as much more as a step has time for."""
        budget = self._budget.tokens(len(sequences))
        for sequence in sorted(sequences, key=self._rows.num_pending):
            if self._rows.num_pending(sequence) > NEAR_TOKENS:
                self._rows.share(sequence)
            row = self._rows.row(sequence)
            while budget > 0 and (num_pending := self._rows.num_pending(sequence)) > NEAR_TOKENS:
                length = min(num_pending - 1, budget, self._decoder.limits.batch_tokens)
                start = len(row.tokens)
                self._decode_batch([Run(row.slot, start, sequence.tokens[start : start + length], False)])
                row.tokens += sequence.tokens[start : start + length]
                budget -= length
            if self._rows.num_pending(sequence) <= NEAR_TOKENS:
                yield sequence

    def _decode(self, runs: dict[Sequence, list[int]]) -> dict[Sequence, int]:
        """The likeliest token after each of the runs, which are all short."""
        batches: list[dict[Sequence, Run]] = [{}]
        num_tokens = 0
        for sequence, tokens in runs.items():
            if num_tokens + len(tokens) > self._decoder.limits.batch_tokens:
                batches.append({})
                num_tokens = 0
            row = self._rows.row(sequence)
            batches[-1][sequence] = Run(row.slot, len(row.tokens), tokens, True)
            num_tokens += len(tokens)
        answers: dict[Sequence, int] = {}
        for batch in batches:
            answers.update(zip(batch, self._decode_batch(list(batch.values())), strict=True))
            for sequence, run in batch.items():
                self._rows.row(sequence).tokens += run.tokens
        return answers

    def _decode_batch(self, runs: list[Run]) -> list[int]:
        started = self._clock()
        answers = self._decoder.decode(runs)
        seconds = max(self._clock() - started, _LEAST_SECONDS)
        num_tokens = sum(len(run.tokens) for run in runs)
        self._budget.observe(num_tokens, seconds)
        self._times.observe(num_tokens, seconds)
        return answers


class _CommonRecord:
    """Of all sequences together: what a new one is taken to be like."""

    def __init__(self) -> None:
        self.num_tokens = 0
        """That were generated, with guesses or without."""
        self._record = TrackRecord()

    def acceptance(self) -> float:
        return self._record.acceptance(self.num_tokens)

    def note(self, num_drafted: int, num_accepted: int) -> None:
        self._record.note(num_drafted, num_accepted, self.num_tokens)


class _Record(TrackRecord):
    """Of one sequence; what is noted counts for all of them, too."""

    def __init__(self, common: _CommonRecord) -> None:
        super().__init__(common.acceptance() or self.FIRST_ACCEPTANCE)
        self._common = common

    def note(self, num_drafted: int, num_accepted: int, num_tokens: int) -> None:
        super().note(num_drafted, num_accepted, num_tokens)
        self._common.note(num_drafted, num_accepted)
