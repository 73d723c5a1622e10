"""The engine's `Runner` on llama.cpp: batches in, tokens out."""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Mapping

import llama_cpp
import numpy as np

from llamawire_server.engine.constraint import ConstraintError
from llamawire_server.engine.decode_errors import CacheFullError, DecodeError
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.runner.batch import Batch
from llamawire_server.engine.runner.batch_sampling import BatchSampling, Result
from llamawire_server.engine.runner.batches import Piece, batches
from llamawire_server.engine.runner.cells import Cells
from llamawire_server.engine.runner.draft_model import DraftModel
from llamawire_server.engine.runner.grammar_vocabulary import read_vocabulary
from llamawire_server.engine.runner.grammars import Grammars
from llamawire_server.engine.runner.model import LoadedModel
from llamawire_server.engine.runner.sampler import Logits, Sampler
from llamawire_server.engine.runner.scoring import score
from llamawire_server.engine.runner.threads import ThreadCount
from llamawire_server.engine.runner.vocabulary import Vocabulary
from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.step import Limits, Move, Sampled, Slice

log = logging.getLogger(__name__)


class LlamaRunner:
    """Owns a model's context. Every call comes from one thread."""

    def __init__(self, loaded: LoadedModel, draft_model: DraftModel | None = None) -> None:
        """draft_model: guesses for this model, with as many threads."""
        self.vocabulary = Vocabulary(loaded.vocabulary)
        self._limits = loaded.limits
        self._context = loaded.context
        self._draft_model = draft_model
        self._cells = Cells(loaded.context, loaded.limits)
        self._batch = Batch(loaded.limits.batch_tokens)
        self._threads = ThreadCount(loaded.threads, self._set_threads)
        self._sampling = BatchSampling(loaded.threads)
        size, end_token_ids = self.vocabulary.size, self.vocabulary.end_token_ids
        self.grammars = Grammars(
            lambda: read_vocabulary(loaded.vocabulary, size, end_token_ids),
            num_threads=(loaded.threads + 1) // 2,
        )
        self.grammars.begin()
        self._samplers: dict[Sequence, Sampler] = {}
        self._rows: dict[int, Logits] = {}

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def end_token_ids(self) -> frozenset[int]:
        return self.vocabulary.end_token_ids

    def run(self, slices: list[Slice]) -> Mapping[Sequence, Sampled]:
        sampled: dict[Sequence, Sampled] = {}
        for piece in slices:
            piece.logprobs.clear()  # of a step that failed half way
        for batch in batches(slices):
            # The logits are llama.cpp's own memory, which the next batch overwrites.
            self._decode(batch, sampled)
        return sampled

    def _decode(self, batch: list[Piece], sampled: dict[Sequence, Sampled]) -> None:
        """Compute a batch, and sample for whoever samples from it."""
        outputs = self._batch.fill(batch)
        samplers = self._prepare([piece for piece, _ in outputs], sampled)
        wall, cpu = time.monotonic(), time.process_time()
        code = llama_cpp.llama_decode(self._context, self._batch.struct)
        self._threads.observe(time.process_time() - cpu, time.monotonic() - wall)
        if code == 1:
            raise CacheFullError("llama.cpp found no cells for the batch")
        if code != 0:
            raise DecodeError(f"llama_decode returned {code}")
        score(batch, self._logits)
        plain: list[tuple[Sequence, int]] = []
        for piece, output in outputs:
            if not piece.draft:
                plain += [(sequence, output) for sequence in piece.samples if sequence in samplers]
            elif piece.sequence in samplers:
                sampled[piece.sequence] = self._follow(samplers[piece.sequence], output, piece.draft)
        pairs = [(samplers[sequence], self._logits(output)) for sequence, output in plain]
        for (sequence, _), result in zip(plain, self._sampling.sample(pairs), strict=True):
            sampled[sequence] = _sampled([result])

    def _prepare(self, pieces: list[Slice], sampled: dict[Sequence, Sampled]) -> dict[Sequence, Sampler]:
        """Who samples, with what: masks are computed while llama.cpp computes. Notes whose constraint fails."""
        samplers: dict[Sequence, Sampler] = {}
        for piece in pieces:
            for sequence in piece.samples:
                try:
                    sampler = self._sampler(sequence)
                    sampler.prepare(piece.draft)
                except ConstraintError as error:
                    sampled[sequence] = _sampled([error])
                else:
                    samplers[sequence] = sampler
        return samplers

    def _follow(self, sampler: Sampler, output: int, draft: tuple[int, ...]) -> Sampled:
        """What a sequence goes on with, from the batch's token number `output` on, as far as the draft is right."""
        picks: list[Result] = []
        try:
            for number, guess in enumerate((*draft, None)):
                pick = sampler.pick(self._logits(output + number))
                picks.append(pick)
                if pick.token != guess or sampler.is_complete:
                    break
        except ConstraintError as error:
            picks.append(error)
        return _sampled(picks)

    def move(self, move: Move) -> None:
        self._cells.move(move)

    def cut(self, slot: int, num_tokens: int) -> bool:
        return self._cells.cut(slot, num_tokens)

    def clear(self) -> None:
        self._cells.clear()

    def forget(self, sequence: Sequence) -> None:
        self._samplers.pop(sequence, None)

    def _set_threads(self, count: int) -> None:
        log.debug("computing with %d threads", count)
        llama_cpp.llama_set_n_threads(self._context, count, count)
        if self._draft_model is not None:
            self._draft_model.set_threads(count)

    def _sampler(self, sequence: Sequence) -> Sampler:
        sampler = self._samplers.get(sequence)
        # Of a step that fails after some of it was sampled, nothing counts.
        if sampler is None or sampler.place != sequence.num_output_tokens:
            sampler = self._samplers[sequence] = Sampler(sequence)
        return sampler

    def _logits(self, output: int) -> Logits:
        """The logits of the batch's token number `output`, in llama.cpp's own memory, which moves rarely."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, output)
        if not pointer:
            raise DecodeError("llama.cpp kept no logits")
        address = ctypes.addressof(pointer.contents)
        row = self._rows.get(address)
        if row is None:
            memory = (ctypes.c_float * self.vocabulary.size).from_address(address)
            row = self._rows[address] = np.ctypeslib.as_array(memory)
        return row


def _sampled(results: list[Result]) -> Sampled:
    """What came in a row of places; nothing where a constraint failed in one of them."""
    tokens: list[int] = []
    logprobs: list[TokenLogprobs] = []
    for result in results:
        if isinstance(result, ConstraintError):
            return Sampled([], failure=str(result))
        tokens.append(result.token)
        if result.logprobs is not None:
            logprobs.append(result.logprobs)
    return Sampled(tokens, logprobs)
