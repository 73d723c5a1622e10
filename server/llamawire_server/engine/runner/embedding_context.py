"""The `Embedder` on llama.cpp: a context of its own over a model's weights, beside the one that generates, if any."""

from __future__ import annotations

import ctypes
import logging
import time
from typing import Any

import llama_cpp
import numpy as np

from llamawire_server.config import ModelSettings
from llamawire_server.engine.context_size import embedding_limits
from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.embedding.job import EmbeddingLimits, Job, Piece
from llamawire_server.engine.runner.batch import Batch
from llamawire_server.engine.runner.model import LoadedModel, metadata_of
from llamawire_server.engine.runner.pooling import Pool, Rows, find_pooling
from llamawire_server.engine.runner.threads import ThreadCount

log = logging.getLogger(__name__)

# The sequence of llama.cpp's that the input has which is computed in parts; the others have those from 1 on.
_LONG_SLOT = 0


class EmbeddingContext:
    """Owns a context that gives a vector for each token. Lives on the thread of its model.

    llama.cpp could pool by itself, but only what it computes at once: here a long input is computed in parts, so that
    it takes neither more memory nor more time at a time than a short one. The context is made when it is first
    needed, as large as what it is needed for, and anew when something larger comes or after it was closed.
    """

    def __init__(self, loaded: LoadedModel, settings: ModelSettings) -> None:
        """Raises PoolingError where the model gives no vector for a text."""
        self._pooling = find_pooling(metadata_of(loaded.model, "pooling_type"), settings.pooling)
        self._model = loaded.model
        self._engine_log = loaded.engine_log
        self._limits = embedding_limits(
            loaded.limits.context_length, is_encoder=loaded.is_encoder, is_recurrent=loaded.is_recurrent
        )
        self.width: int = llama_cpp.llama_model_n_embd_out(loaded.model)
        """How many numbers a vector has."""
        self._is_encoder = loaded.is_encoder
        # What has no decoder at all wants to be called otherwise; for the rest, llama.cpp sorts it out.
        has_decoder = llama_cpp.llama_model_has_decoder(loaded.model)
        self._compute: Any = llama_cpp.llama_decode if has_decoder else llama_cpp.llama_encode
        self._bos_token = max(llama_cpp.llama_vocab_bos(loaded.vocabulary), 0)
        self._threads = ThreadCount(loaded.threads, self._set_threads)
        self._context: Any = None
        self._memory: Any = None
        self._size = 0
        """Of the context, in tokens."""
        self._batch = Batch(1)
        self._long_input: tuple[Job, int] | None = None
        """The input of which a part is computed, and its job."""
        self._long_pool = Pool(self._pooling)

    @property
    def limits(self) -> EmbeddingLimits:
        return self._limits

    def warm_up(self) -> float:
        """Compute a token a few times, for nothing; gives how many seconds it takes. Raises DecodeError."""
        batch = [Piece(Job(0, [[self._bos_token]], 0.0), 0, 0, 1)]
        seconds = []
        for _ in range(4):  # the first one reads the weights
            started = time.monotonic()
            self.embed(batch)
            seconds.append(time.monotonic() - started)
        return min(seconds[1:])

    def embed(self, batch: list[Piece]) -> list[bytes | None]:
        try:
            return self._embed(batch)
        except DecodeError:
            self._clear()
            raise

    def forget(self, job: Job) -> None:
        if self._long_input is not None and self._long_input[0] is job:
            self._clear()

    @property
    def has_context(self) -> bool:
        return self._context is not None

    def close_context(self) -> None:
        assert self._long_input is None, "it would be lost"
        self._close()

    def _embed(self, batch: list[Piece]) -> list[bytes | None]:
        self._make_room(batch)
        num_tokens = 0
        for slot, piece in enumerate(batch, _LONG_SLOT + 1):
            slot = slot if piece.is_whole else _LONG_SLOT
            num_tokens = self._batch.add(
                num_tokens, piece.tokens, piece.start, slot, num_outputs=piece.num_tokens
            )
        self._batch.struct.n_tokens = num_tokens
        wall, cpu = time.monotonic(), time.process_time()
        code = self._compute(self._context, self._batch.struct)
        rows = self._rows(num_tokens) if code == 0 else None  # waits for it to be computed
        self._threads.observe(time.process_time() - cpu, time.monotonic() - wall)
        if rows is None:
            raise DecodeError(f"llama.cpp could not embed {num_tokens} tokens: it returned {code}")
        vectors: list[bytes | None] = []
        at = 0
        for piece in batch:
            vectors.append(self._take(piece, rows[at : at + piece.num_tokens]))
            at += piece.num_tokens
        if self._long_input is None:
            llama_cpp.llama_memory_clear(self._memory, False)
        else:
            for slot in range(_LONG_SLOT + 1, _LONG_SLOT + 1 + len(batch)):
                llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
        return vectors

    def _take(self, piece: Piece, rows: Rows) -> bytes | None:
        """The input's vector, where the piece is its last."""
        if piece.is_whole:
            pool = Pool(self._pooling)
        elif piece.start == 0:
            pool = self._long_pool = Pool(self._pooling)
            self._long_input = (piece.job, piece.index)
        else:
            pool = self._long_pool
            assert self._long_input == (piece.job, piece.index)
        pool.add(rows)
        if not piece.is_last:
            return None
        if not piece.is_whole:
            self._long_input = None
        return pool.vector(piece.job.dimensions)

    def _rows(self, num_tokens: int) -> Rows:
        """The tokens' vectors, in llama.cpp's own memory, which the next batch overwrites."""
        pointer = llama_cpp.llama_get_embeddings(self._context)
        if not pointer:
            raise DecodeError("llama.cpp kept no embeddings")
        address = ctypes.addressof(pointer.contents)
        memory = (ctypes.c_float * (num_tokens * self.width)).from_address(address)
        return np.ctypeslib.as_array(memory).reshape(num_tokens, self.width)

    def _make_room(self, batch: list[Piece]) -> None:
        """Make a context, or a larger one, where this batch needs it. Raises DecodeError where there can't be one."""
        if self._is_encoder:
            needed = sum(piece.num_tokens for piece in batch)
        else:
            # What is computed of a long input stays while others come and go.
            longest = max((piece.input_length for piece in batch if not piece.is_whole), default=0)
            needed = longest + self._limits.batch_tokens
        if needed <= self._size:
            return
        assert self._long_input is None, "room is made for all of an input when it begins"
        batch_tokens, context_length = self._limits.batch_tokens, self._limits.context_length
        size = max(self._size, batch_tokens if self._is_encoder else 2 * batch_tokens)
        while size < needed:
            size *= 2
        most = max(batch_tokens, context_length) if self._is_encoder else batch_tokens + context_length
        self._open(min(size, most))

    def _open(self, size: int) -> None:
        self._close()
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = size
        # What sees all of an input at once is computed in one go.
        parameters.n_batch = parameters.n_ubatch = size if self._is_encoder else self._limits.batch_tokens
        parameters.n_seq_max = self._limits.batch_inputs + 1
        parameters.n_threads = parameters.n_threads_batch = self._threads.count
        parameters.no_perf = True
        parameters.kv_unified = True
        parameters.embeddings = True
        parameters.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
        self._engine_log.clear()
        context = llama_cpp.llama_init_from_model(self._model, parameters)
        if not context:
            why = self._engine_log.last_errors() or "no reason was given"
            raise DecodeError(f"llama.cpp could not create a context of {size} tokens for embeddings: {why}")
        log.debug("embedding in a context of %d tokens", size)
        self._context, self._size = context, size
        self._memory = llama_cpp.llama_get_memory(context)
        self._batch = Batch(parameters.n_batch)

    def _close(self) -> None:
        if self._context is not None:
            llama_cpp.llama_free(self._context)
            self._context = self._memory = None
            self._size = 0
            self._batch = Batch(1)

    def _clear(self) -> None:
        """Forget everything."""
        self._long_input = None
        if self._context is not None:
            llama_cpp.llama_memory_clear(self._memory, False)

    def _set_threads(self, count: int) -> None:
        if self._context is not None:
            llama_cpp.llama_set_n_threads(self._context, count, count)
