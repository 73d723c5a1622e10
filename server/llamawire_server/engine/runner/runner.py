"""The engine's `Runner` on llama.cpp: batches in, tokens out."""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Mapping

import llama_cpp
import numpy as np

from llamawire_server.engine.engine import CacheFullError, DecodeError
from llamawire_server.engine.runner.batch_sampling import BatchSampling
from llamawire_server.engine.runner.batches import Piece, batches
from llamawire_server.engine.runner.cells import Cells
from llamawire_server.engine.runner.model import LoadedModel
from llamawire_server.engine.runner.sampler import Logits, Sampler
from llamawire_server.engine.runner.threads import ThreadCount
from llamawire_server.engine.runner.vocabulary import Vocabulary
from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.step import Limits, Move, Slice

log = logging.getLogger(__name__)


class LlamaRunner:
    """Owns a model's context. Every call comes from one thread."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.vocabulary = Vocabulary(loaded.vocabulary)
        self._limits = loaded.limits
        self._context = loaded.context
        self._cells = Cells(loaded.context, loaded.limits)
        self._batch = Batch(loaded.limits.batch_tokens)
        self._threads = ThreadCount(loaded.threads, self._set_threads)
        self._sampling = BatchSampling(loaded.threads)
        self._samplers: dict[Sequence, Sampler] = {}
        self._rows: dict[int, Logits] = {}

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def end_token_ids(self) -> frozenset[int]:
        return self.vocabulary.end_token_ids

    def run(self, slices: list[Slice]) -> Mapping[Sequence, list[int]]:
        sampled: dict[Sequence, list[int]] = {}
        for batch in batches(slices):
            # The logits are llama.cpp's own memory, which the next batch overwrites.
            self._decode(batch, sampled)
        return sampled

    def _decode(self, batch: list[Piece], sampled: dict[Sequence, list[int]]) -> None:
        """Compute a batch, and sample for whoever samples from it."""
        outputs = self._batch.fill(batch)
        wall, cpu = time.monotonic(), time.process_time()
        code = llama_cpp.llama_decode(self._context, self._batch.struct)
        self._threads.observe(time.process_time() - cpu, time.monotonic() - wall)
        if code == 1:
            raise CacheFullError("llama.cpp found no cells for the batch")
        if code != 0:
            raise DecodeError(f"llama_decode returned {code}")
        plain: list[tuple[Sequence, int]] = []
        for piece, output in outputs:
            if piece.draft:
                sampled[piece.sequence] = self._follow(piece.sequence, output, piece.draft)
            else:
                plain += [(sequence, output) for sequence in piece.samples]
        pairs = [(self._sampler(sequence), self._logits(output)) for sequence, output in plain]
        for (sequence, _), token in zip(plain, self._sampling.sample(pairs), strict=True):
            sampled[sequence] = [token]

    def _follow(self, sequence: Sequence, output: int, draft: tuple[int, ...]) -> list[int]:
        """What the sequence goes on with, from the batch's token number `output` on, as far as the draft is right."""
        sampler = self._sampler(sequence)
        tokens: list[int] = []
        for number, guess in enumerate((*draft, None)):
            tokens.append(sampler.sample(self._logits(output + number)))
            if tokens[-1] != guess:
                break
        return tokens

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


class Batch:
    """A llama_batch whose arrays are numpy's, so that a prompt's slice is one assignment, not a loop."""

    def __init__(self, size: int) -> None:
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._slot_counts = np.ones(size, np.int32)
        self._slots = np.zeros(size, np.int32)
        self._outputs = np.zeros(size, np.int8)
        # llama.cpp wants an array of slots for each token: here every one is a place in one array.
        first = self._slots.ctypes.data
        self._slot_pointers = np.arange(first, first + 4 * size, 4, dtype=np.uintp)
        self.struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            embd=None,
            pos=self._positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            n_seq_id=self._slot_counts.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._slot_pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, pieces: list[Piece]) -> list[tuple[Slice, int]]:
        """Lay the pieces out; gives the slices that sample here, each with the number of the first token to sample
        from: that before its draft."""
        outputs: list[tuple[Slice, int]] = []
        at = 0
        for whole, start, stop in pieces:
            end = at + stop - start
            self._tokens[at:end] = whole.tokens[start - whole.start : stop - whole.start]
            self._positions[at:end] = range(start, stop)
            self._slots[at:end] = whole.slot
            self._outputs[at:end] = 0
            if whole.samples and stop == whole.start + whole.num_tokens:
                first = end - 1 - len(whole.draft)
                self._outputs[first:end] = 1
                outputs.append((whole, first))
            at = end
        self.struct.n_tokens = at
        return outputs
