"""A llama_batch, filled in a few assignments."""

from __future__ import annotations

import ctypes

import llama_cpp
import numpy as np

from llamawire_server.engine.runner.batches import Piece
from llamawire_server.engine.step import Slice


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
        for piece in pieces:
            whole, start, stop = piece
            tokens = whole.tokens[start - whole.start : stop - whole.start]
            samples = whole.samples and stop == whole.start + whole.num_tokens
            num_outputs = 1 + len(whole.draft) if samples else 0
            begin, at = at, self.add(at, tokens, start, whole.slot, num_outputs=num_outputs)
            if whole.sequence.prompt_scores is not None:
                scored = piece.scored_places
                self._outputs[begin + scored.start - start : begin + scored.stop - start] = 1
            if samples:
                outputs.append((whole, at - num_outputs))
        self.struct.n_tokens = at
        return outputs

    def add(self, at: int, tokens: list[int], start: int, slot: int, *, num_outputs: int) -> int:
        """Lay out tokens of a slot from the batch's place `at` on, the first of which is the slot's number `start`;
        gives the place after them. num_outputs: so many of the last get logits."""
        end = at + len(tokens)
        self._tokens[at:end] = tokens
        self._positions[at:end] = range(start, start + len(tokens))
        self._slots[at:end] = slot
        self._outputs[at:end] = 0
        self._outputs[end - num_outputs : end] = 1
        return end
