"""Loading a model and asking llama.cpp about it."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import llama_cpp

from llamawire_server.config import ModelSettings
from llamawire_server.engine.context_size import context_limits, idle_tokens
from llamawire_server.engine.runner.mapped_files import release_mapped_files
from llamawire_server.engine.step import Limits
from llamawire_server.machine import usable_cores

LOG_LINES_KEPT = 12
GGML_LOG_LEVEL_ERROR = 4


class ModelLoadError(Exception):
    """A model could not be loaded; the text says why, in llama.cpp's words where it gave any."""


class EngineLog:
    """Takes over llama.cpp's log: the last errors explain a failed load, the rest goes to `sink`."""

    # llama.cpp keeps the pointer to the callback and may log at any time, whoever has let go of the log by then.
    _installed: ClassVar[EngineLog | None] = None

    def __init__(self, sink: Callable[[int, str], None]) -> None:
        self._sink = sink
        self._level = 0
        self._errors: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._callback = llama_cpp.llama_log_callback(self._receive)
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))
        EngineLog._installed = self

    def last_errors(self) -> str:
        """The last error lines, as one line."""
        return "; ".join(self._errors)

    def clear(self) -> None:
        self._errors.clear()

    def _receive(self, level: int, text: bytes, _user_data: object) -> None:
        line = text.decode("utf-8", "replace").rstrip("\n")
        if not line or line == ".":
            return
        # Level 5 continues the line before it.
        self._level = level if level != 5 else self._level
        if self._level >= GGML_LOG_LEVEL_ERROR:
            self._errors.append(line.strip())
        self._sink(self._level, line)


@dataclass(frozen=True)
class ModelFacts:
    """What llama.cpp says of a loaded model."""

    num_parameters: int
    training_context_length: int
    vocabulary_size: int


class LoadedModel:
    """A model's weights, and a context over them to generate with. Lives on one thread."""

    def __init__(
        self, path: Path, settings: ModelSettings, engine_log: EngineLog, progress: Callable[[float], bool]
    ) -> None:
        """Read the file, calling `progress` with the share loaded, in [0, 1]; False from it stops the load.

        Raises ModelLoadError.
        """
        self.path = path
        self.engine_log = engine_log
        self.model = model = open_model(path, settings.gpu_layers, engine_log, progress)
        self.vocabulary = llama_cpp.llama_model_get_vocab(model)
        self.facts = self._read_facts()
        self.threads = settings.threads or usable_cores()
        self.is_recurrent = is_recurrent(model)
        self.limits, self.context = self._create_context(settings)
        """The context is None where the model is an encoder."""
        release_mapped_files()  # what is not needed any more; the rest comes back when it is computed with
        self.token_seconds = 0.0
        """How long the model computes a token by itself; of an encoder its embedding context knows."""
        if self.is_encoder:
            return
        self.token_seconds = warm_up(self.context, self.vocabulary)
        if self.limits.shelf_tokens:
            self.limits = dataclasses.replace(self.limits, idle_tokens=self._idle_tokens())

    def _idle_tokens(self) -> int:
        num_layers = llama_cpp.llama_model_n_layer(self.model)
        num_heads = llama_cpp.llama_model_n_head(self.model)
        return idle_tokens(num_layers, num_heads, self.token_seconds)

    def _read_facts(self) -> ModelFacts:
        return ModelFacts(
            num_parameters=llama_cpp.llama_model_n_params(self.model),
            training_context_length=llama_cpp.llama_model_n_ctx_train(self.model),
            vocabulary_size=llama_cpp.llama_vocab_n_tokens(self.vocabulary),
        )

    @property
    def is_encoder(self) -> bool:
        """Whether each token sees those that follow it, so that the model embeds and can't generate."""
        return self.context is None

    def _create_context(self, settings: ModelSettings) -> tuple[Limits, Any]:
        """Its limits, and None in the context's place where the model is an encoder."""
        is_encoder = not llama_cpp.llama_model_has_decoder(self.model)
        limits = self._limits(settings, is_encoder=is_encoder)
        if is_encoder:
            return limits, None
        num_sequences = limits.num_all_slots + bool(limits.shelf_tokens)  # the runner's own
        context = create_context(self.model, limits, num_sequences, self.threads, self.engine_log)
        # Nothing but a context tells: encoders see all of a text at once, or keep nothing of what they computed.
        if llama_cpp.llama_get_memory(context) and llama_cpp.llama_get_causal_attn(context):
            return limits, context
        llama_cpp.llama_free(context)
        return self._limits(settings, is_encoder=True), None

    def _limits(self, settings: ModelSettings, *, is_encoder: bool) -> Limits:
        return context_limits(
            settings,
            self.facts.training_context_length,
            is_recurrent=self.is_recurrent,
            is_windowed=is_windowed(self.model),
            is_encoder=is_encoder,
        )


def is_recurrent(model: Any) -> bool:
    """Whether some of its layers remember all of a sequence's tokens together."""
    return bool(llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model))


def is_windowed(model: Any) -> bool:
    """Whether some of its layers see a sliding window of the last tokens only."""
    return bool(llama_cpp.llama_model_n_swa(model) > 0)


def metadata_of(model: Any, key: str) -> str | None:
    """What the file has under `{architecture}.{key}`, as text; None where it has nothing there."""
    architecture = _read_metadata(model, "general.architecture")
    return _read_metadata(model, f"{architecture}.{key}")


def _read_metadata(model: Any, key: str) -> str | None:
    buffer = ctypes.create_string_buffer(256)
    size = llama_cpp.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return None if size < 0 else buffer.value.decode("utf-8", "replace")


def open_model(path: Path, gpu_layers: int, engine_log: EngineLog, progress: Callable[[float], bool]) -> Any:
    """llama.cpp's model of the file. `progress` is called with the share loaded; False from it stops the load.

    Raises ModelLoadError.
    """
    engine_log.clear()
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = gpu_layers

    def report(share: float, _user_data: object) -> bool:
        return progress(share)

    callback: Any = llama_cpp.llama_progress_callback(report)
    parameters.progress_callback = callback
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        raise ModelLoadError(engine_log.last_errors() or "llama.cpp could not load the file")
    return model


def create_context(
    model: Any, limits: Limits, num_sequences: int, num_threads: int, engine_log: EngineLog
) -> Any:
    """A context for the model, with one KV cache for so many sequences. Raises ModelLoadError."""
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = limits.kv_cache_tokens
    parameters.n_batch = parameters.n_ubatch = limits.batch_tokens
    parameters.n_seq_max = num_sequences
    parameters.n_threads = parameters.n_threads_batch = num_threads
    parameters.no_perf = True
    # One cache for all sequences: room goes where it is needed, and a prefix can be shared at any length.
    # Separate streams decode unrelated sequences up to 13 % faster (8 of 640 tokens), and could do neither.
    parameters.kv_unified = True
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        raise ModelLoadError(engine_log.last_errors() or "llama.cpp could not create a context")
    return context


def warm_up(context: Any, vocabulary: Any) -> float:
    """Decode a token a few times, for nothing; gives how many seconds it takes.

    Weights are mapped, and the first request should not wait for the disk. A build that this CPU can't run dies here,
    while the model loads, and not under somebody's request. Raises ModelLoadError.
    """
    _decode_one(context, vocabulary)
    return min(_decode_one(context, vocabulary) for _ in range(3))  # others may want the cores just now


def _decode_one(context: Any, vocabulary: Any) -> float:
    token = llama_cpp.llama_vocab_bos(vocabulary)
    tokens = (llama_cpp.llama_token * 1)(max(token, 0))
    llama_cpp.llama_set_warmup(context, True)  # all experts of a mixture, not only the chosen ones
    started = time.monotonic()
    code = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, 1))
    seconds = time.monotonic() - started
    llama_cpp.llama_set_warmup(context, False)
    if code != 0:
        raise ModelLoadError(f"llama.cpp could not compute with the model: llama_decode returned {code}")
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), False)
    return seconds
