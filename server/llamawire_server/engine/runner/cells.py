"""The cells of llama.cpp's KV cache, and those that were put on the shelf."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from llamawire_server.engine.decode_errors import CacheFullError
from llamawire_server.engine.step import Copy, Cut, Limits, Load, Move, Store

_BytePointer = ctypes.POINTER(ctypes.c_uint8)


class Cells:
    """Carries out what the scheduler decides about the KV cache."""

    def __init__(self, context: Any, limits: Limits) -> None:
        self._context = context
        self._memory: Any = llama_cpp.llama_get_memory(context)
        self._can_cut = limits.can_cut
        # What is stored and loaded is a run of a sequence's cells: for the moment it is a sequence of its own.
        self._scratch_slot = limits.num_all_slots
        self._shelf: dict[int, npt.NDArray[np.uint8]] = {}

    def move(self, move: Move) -> None:
        """Raises CacheFullError where llama.cpp finds no cells for what is to be loaded."""
        if isinstance(move, Copy):
            self._share(move.source, move.target, 0, move.num_tokens if self._can_cut else -1)
        elif isinstance(move, Cut):
            self.cut(move.slot, move.num_tokens)
        elif isinstance(move, Store):
            self._store(move)
        elif isinstance(move, Load):
            self._load(move)
        else:
            self._shelf.pop(move.key, None)

    def cut(self, slot: int, num_tokens: int) -> bool:
        """Forget all but the slot's first `num_tokens` tokens; False where the memory can't be cut there."""
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, slot, num_tokens or -1, -1))

    def clear(self) -> None:
        """Forget all that is in the KV cache and on the shelf."""
        llama_cpp.llama_memory_clear(self._memory, False)
        self._shelf.clear()

    def _share(self, source: int, target: int, start: int, end: int) -> None:
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, start, end)

    def _store(self, move: Store) -> None:
        self._share(move.slot, self._scratch_slot, move.start, move.end)
        size = llama_cpp.llama_state_seq_get_size(self._context, self._scratch_slot)
        stored = np.empty(size, np.uint8)
        pointer = stored.ctypes.data_as(_BytePointer)
        llama_cpp.llama_state_seq_get_data(self._context, pointer, size, self._scratch_slot)
        self.cut(self._scratch_slot, 0)
        self._shelf[move.key] = stored

    def _load(self, move: Load) -> None:
        stored = self._shelf[move.key]
        pointer = stored.ctypes.data_as(_BytePointer)
        if not llama_cpp.llama_state_seq_set_data(self._context, pointer, stored.size, self._scratch_slot):
            raise CacheFullError("llama.cpp found no cells for what was on the shelf")
        self._share(self._scratch_slot, move.slot, move.start, move.end)
        self.cut(self._scratch_slot, 0)
