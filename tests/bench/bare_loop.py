"""The least that llama.cpp can be driven with: decode a batch, take each row's best token, again.

It is what the service is measured against: the same library, model, context and threads, and nothing around them:
no text, no processes, no sockets, no scheduling.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

BATCH_TOKENS = 512


@dataclass(frozen=True)
class Setup:
    """What the loop runs: the same as the service's model settings."""

    model_file: Path
    threads: int
    num_slots: int
    kv_cache_tokens: int


@dataclass(frozen=True)
class Run:
    """When tokens came, by stream, in seconds since the start; and the prompts' lengths."""

    token_times: list[list[float]]
    prompt_tokens: list[int]


class BareLoop:
    """The loop in a process of its own, as the service has its model, loaded once and idle between runs."""

    def __init__(self, setup: Setup) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, setup), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()

    def run(self, prompts: Sequence[str], num_tokens: int) -> Run:
        """Generate `num_tokens` tokens for each prompt, all at once."""
        self._connection.send((list(prompts), num_tokens))
        result: Run = self._connection.recv()
        return result

    def __enter__(self) -> BareLoop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.join()


def _serve(connection: Connection, setup: Setup) -> None:
    run = _load(setup)
    connection.send("loaded")
    while True:
        try:
            prompts, num_tokens = connection.recv()
        except EOFError:
            return
        connection.send(run(prompts, num_tokens))


def _load(setup: Setup) -> Callable[[list[str], int], Run]:
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        os.fsencode(setup.model_file), llama_cpp.llama_model_default_params()
    )
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = setup.kv_cache_tokens
    parameters.n_batch = parameters.n_ubatch = BATCH_TOKENS
    parameters.n_seq_max = setup.num_slots
    parameters.n_threads = parameters.n_threads_batch = setup.threads
    parameters.kv_unified = True
    parameters.no_perf = True
    context = llama_cpp.llama_init_from_model(model, parameters)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    memory = llama_cpp.llama_get_memory(context)
    batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
    greedy = llama_cpp.llama_sampler_init_greedy()

    def tokenize(text: str) -> list[int]:
        data = text.encode()
        tokens = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(vocabulary, data, len(data), tokens, len(tokens), True, True)
        return list(tokens[:count])

    def put(token: int, position: int, slot: int, wants_logits: bool) -> None:
        at = batch.n_tokens
        batch.token[at] = token
        batch.pos[at] = position
        batch.n_seq_id[at] = 1
        batch.seq_id[at][0] = slot
        batch.logits[at] = wants_logits
        batch.n_tokens = at + 1

    def decode() -> None:
        if (code := llama_cpp.llama_decode(context, batch)) != 0:
            raise RuntimeError(f"llama_decode returned {code}")

    def prefill(slot: int, prompt: list[int]) -> int:
        for start in range(0, len(prompt), BATCH_TOKENS):
            batch.n_tokens = 0
            for position in range(start, min(start + BATCH_TOKENS, len(prompt))):
                put(prompt[position], position, slot, position == len(prompt) - 1)
            decode()
        return int(llama_cpp.llama_sampler_sample(greedy, context, -1))

    def run(texts: list[str], num_tokens: int) -> Run:
        llama_cpp.llama_memory_clear(memory, True)
        begin = time.perf_counter()
        prompts = [tokenize(text) for text in texts]
        last: list[int] = []
        times: list[list[float]] = []
        for slot, prompt in enumerate(prompts):
            last.append(prefill(slot, prompt))
            times.append([time.perf_counter() - begin])
        for step in range(num_tokens - 1):
            batch.n_tokens = 0
            for slot, prompt in enumerate(prompts):
                put(last[slot], len(prompt) + step, slot, True)
            decode()
            for slot in range(len(prompts)):
                last[slot] = int(llama_cpp.llama_sampler_sample(greedy, context, slot))
            now = time.perf_counter() - begin
            for stream in times:
                stream.append(now)
        return Run(times, [len(prompt) for prompt in prompts])

    kept: Any = (silent, run)  # llama.cpp keeps the callback's pointer
    _load.kept = kept  # type: ignore[attr-defined]
    return run
