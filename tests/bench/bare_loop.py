"""The least that llama.cpp can be driven with: decode a batch, take each row's best token, again.

It is what the service is measured against: the same library, model, context and threads, and nothing around them:
no text, no processes, no sockets, no scheduling. What all prompts begin with it can compute once for all.
"""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

BATCH_TOKENS = 512


class Prefix(Enum):
    """What becomes of the tokens that all prompts of a run begin with."""

    OWN = 0
    """Each sequence computes them for itself."""

    SHARED = 1
    """They are computed once, and kept."""

    KEPT = 2
    """They are there from the run before."""


@dataclass(frozen=True)
class LoopSettings:
    """What the loop runs: the same as the service's model settings."""

    model_file: Path
    threads: int
    num_slots: int
    kv_cache_tokens: int


@dataclass(frozen=True)
class LoopRun:
    """When tokens came, by stream, in seconds since the start; and the prompts' lengths."""

    token_times: list[list[float]]
    prompt_tokens: list[int]


class BareLoop:
    """The loop in a process of its own, as the service has its model, loaded once and idle between runs."""

    def __init__(self, settings: LoopSettings) -> None:
        self.num_slots = settings.num_slots
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process.pid is not None  # it was started
        return self._process.pid

    def run(self, prompts: Sequence[str], num_tokens: int, prefix: Prefix = Prefix.OWN) -> LoopRun:
        """Generate `num_tokens` tokens for each prompt, as many at once as there are slots."""
        self._connection.send((list(prompts), num_tokens, prefix))
        result: LoopRun = self._connection.recv()
        return result

    def __enter__(self) -> BareLoop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.join()


def shared_beginning(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that all prompts begin with."""
    # What the first and the last one in order have in common, all between them have too.
    first, last = min(prompts), max(prompts)
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return [token for token, _ in pairs]


def _serve(connection: Connection, settings: LoopSettings) -> None:
    run = _load(settings)
    connection.send("loaded")
    while True:
        try:
            prompts, num_tokens, prefix = connection.recv()
        except EOFError:
            return
        connection.send(run(prompts, num_tokens, prefix))


def _load(settings: LoopSettings) -> Callable[[list[str], int, Prefix], LoopRun]:
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        os.fsencode(settings.model_file), llama_cpp.llama_model_default_params()
    )
    keeper = settings.num_slots
    """The sequence that keeps the prefix."""

    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = settings.kv_cache_tokens
    parameters.n_batch = parameters.n_ubatch = BATCH_TOKENS
    parameters.n_seq_max = settings.num_slots + 1
    parameters.n_threads = parameters.n_threads_batch = settings.threads
    parameters.kv_unified = True
    parameters.no_perf = True
    context = llama_cpp.llama_init_from_model(model, parameters)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    memory = llama_cpp.llama_get_memory(context)
    batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
    greedy = llama_cpp.llama_sampler_init_greedy()
    kept: list[int] = []
    """The prefix that the keeper has."""

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
        batch.n_tokens = 0

    def best(row: int) -> int:
        return int(llama_cpp.llama_sampler_sample(greedy, context, row))

    def prefill(slot: int, prompt: Sequence[int], start: int = 0) -> int:
        batch.n_tokens = 0
        for position in range(start, len(prompt)):
            put(prompt[position], position, slot, position == len(prompt) - 1)
            if batch.n_tokens == BATCH_TOKENS:
                decode()
        if batch.n_tokens:
            decode()
        return best(-1)

    def make_room(prompts: list[list[int]], prefix: Prefix) -> int:
        """Empty the slots, and give them what they share; gives its length."""
        if prefix is Prefix.KEPT:
            for slot in range(settings.num_slots):
                llama_cpp.llama_memory_seq_rm(memory, slot, -1, -1)
        else:
            llama_cpp.llama_memory_clear(memory, False)
        if prefix is Prefix.OWN:
            return 0
        # At least one token of each prompt is left to be computed: its row is what the next one is taken from.
        common = shared_beginning([prompt[:-1] for prompt in prompts])
        if prefix is Prefix.SHARED and common:
            prefill(keeper, common)
            kept[:] = common
        common = shared_beginning([common, kept])
        for slot in range(len(prompts)):
            llama_cpp.llama_memory_seq_cp(memory, keeper, slot, 0, len(common))
        return len(common)

    def run_together(
        prompts: list[list[int]], num_tokens: int, prefix: Prefix, begin: float
    ) -> list[list[float]]:
        start = make_room(prompts, prefix)
        last: list[int] = []
        times: list[list[float]] = []
        for slot, prompt in enumerate(prompts):
            last.append(prefill(slot, prompt, start))
            times.append([time.perf_counter() - begin])
        for step in range(num_tokens - 1):
            for slot, prompt in enumerate(prompts):
                put(last[slot], len(prompt) + step, slot, True)
            decode()
            for slot in range(len(prompts)):
                last[slot] = best(slot)
            now = time.perf_counter() - begin
            for stream in times:
                stream.append(now)
        return times

    def run(texts: list[str], num_tokens: int, prefix: Prefix) -> LoopRun:
        begin = time.perf_counter()
        prompts = [tokenize(text) for text in texts]
        times: list[list[float]] = []
        for first in range(0, len(prompts), settings.num_slots):
            group = prompts[first : first + settings.num_slots]
            times += run_together(group, num_tokens, prefix, begin)
        return LoopRun(times, [len(prompt) for prompt in prompts])

    _load.alive = silent  # type: ignore[attr-defined]  # llama.cpp keeps the callback's pointer
    return run
