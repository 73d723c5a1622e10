"""The engine's `DraftDecoder` on llama.cpp: a second model, which guesses for the first."""

from __future__ import annotations

import ctypes
import dataclasses
import logging
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from llamawire_server.engine.decode_errors import CacheFullError, DecodeError
from llamawire_server.engine.drafting.rows import Run
from llamawire_server.engine.runner.batch import Batch
from llamawire_server.engine.runner.mapped_files import release_mapped_files
from llamawire_server.engine.runner.model import (
    EngineLog,
    LoadedModel,
    ModelLoadError,
    create_context,
    is_recurrent,
    is_windowed,
    open_model,
    warm_up,
)
from llamawire_server.engine.step import Limits

log = logging.getLogger(__name__)


class DraftModel:
    """A small model's weights and context. Lives on the thread of the model that it guesses for."""

    def __init__(self, path: Path, main: LoadedModel, gpu_layers: int, engine_log: EngineLog) -> None:
        """Raises ModelLoadError, which names the file."""
        try:
            model = open_model(path, gpu_layers, engine_log, lambda _: True)
            self._vocabulary = llama_cpp.llama_model_get_vocab(model)
            _check_kind(model)
            _check_vocabulary(self._vocabulary, main)
            self.limits = _limits(main.limits, llama_cpp.llama_model_n_ctx_train(model))
            self._context = create_context(
                model, self.limits, self.limits.num_slots, main.threads, engine_log
            )
            release_mapped_files()
            self.token_seconds = warm_up(self._context, self._vocabulary)
            """How long the model computes a token by itself."""
        except ModelLoadError as error:
            raise ModelLoadError(f"the draft model {path} can't be used: {error}") from None
        self._memory: Any = llama_cpp.llama_get_memory(self._context)
        self._size: int = llama_cpp.llama_vocab_n_tokens(self._vocabulary)
        self._batch = Batch(self.limits.batch_tokens)
        self.end_token_ids = frozenset(
            token for token in range(self._size) if llama_cpp.llama_vocab_is_eog(self._vocabulary, token)
        )

    def decode(self, runs: list[Run]) -> list[int]:
        """Compute the runs; gives the likeliest token after each that asks. Raises DecodeError."""
        at = 0
        asked: list[int] = []
        for run in runs:
            at = self._batch.add(at, run.tokens, run.start, run.slot, num_outputs=int(run.is_asked))
            if run.is_asked:
                asked.append(at - 1)
        self._batch.struct.n_tokens = at
        code = llama_cpp.llama_decode(self._context, self._batch.struct)
        if code == 1:
            raise CacheFullError("llama.cpp found no cells for the draft model's batch")
        if code != 0:
            raise DecodeError(f"llama_decode returned {code} for the draft model")
        if not asked:
            # llama.cpp may be computing still, which would count as the next batch's time.
            llama_cpp.llama_synchronize(self._context)
        return [self._likeliest(output) for output in asked]

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        """Let the slot `target`, which is empty, have the first tokens of `source` too."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, num_tokens)

    def cut(self, slot: int, num_tokens: int) -> bool:
        """Forget all but the slot's first `num_tokens` tokens; False where it can't be cut there."""
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, slot, num_tokens or -1, -1))

    def clear(self) -> None:
        """Forget everything."""
        llama_cpp.llama_memory_clear(self._memory, False)

    def set_threads(self, count: int) -> None:
        """Compute with so many threads from now on."""
        llama_cpp.llama_set_n_threads(self._context, count, count)

    def _likeliest(self, output: int) -> int:
        pointer = llama_cpp.llama_get_logits_ith(self._context, output)
        if not pointer:
            raise DecodeError("llama.cpp kept no logits of the draft model")
        address = ctypes.addressof(pointer.contents)
        row = np.ctypeslib.as_array((ctypes.c_float * self._size).from_address(address))
        # Where there is nonsense in it, the guess is wrong, and no more.
        return int(row.argmax())


def load_draft_model(
    path: Path | None, main: LoadedModel, gpu_layers: int, engine_log: EngineLog
) -> DraftModel | None:
    """The draft model at `path`; None where there is none, or no use for it. Raises ModelLoadError."""
    if path is None:
        return None
    if not main.limits.can_cut:
        log.warning("%s is not loaded: a recurrent model can't take back what was guessed wrong", path)
        return None
    return DraftModel(path, main, gpu_layers, engine_log)


def _limits(main: Limits, training_context_length: int) -> Limits:
    """As many sequences and cells as the main model has, and no longer contexts than it was trained on: beyond, some
    models can't compute, and others guess badly."""
    context_length = min(main.context_length, training_context_length or main.context_length)
    return dataclasses.replace(
        main, context_length=context_length, num_cache_slots=0, shelf_tokens=0, can_cut=True
    )


def _check_kind(model: Any) -> None:
    if is_recurrent(model) or is_windowed(model):
        kind = "is recurrent" if is_recurrent(model) else "has a sliding window"
        raise ModelLoadError(f"it {kind}, and can't take back what it guessed wrong")
    if llama_cpp.llama_model_has_encoder(model) or not llama_cpp.llama_model_has_decoder(model):
        raise ModelLoadError("it does not go on from text by itself")


def _check_vocabulary(vocabulary: Any, main: LoadedModel) -> None:
    """Raises ModelLoadError where a token does not mean the same to both models."""
    size = llama_cpp.llama_vocab_n_tokens(vocabulary)
    theirs, where = main.vocabulary, f"that of {main.path}"
    if size != main.facts.vocabulary_size:
        raise ModelLoadError(
            f"its vocabulary is not {where}: {size} tokens, not {main.facts.vocabulary_size}"
        )
    for token in range(size):
        own, other = (llama_cpp.llama_vocab_get_text(each, token) for each in (vocabulary, theirs))
        if own != other:
            raise ModelLoadError(f"its vocabulary is not {where}: token {token} is {own!r}, not {other!r}")
        own, other = (llama_cpp.llama_vocab_get_attr(each, token) for each in (vocabulary, theirs))
        if own != other:
            raise ModelLoadError(
                f"its vocabulary is not {where}: token {token} has the attributes {own}, not {other}"
            )
