"""Thousands of small requests of every kind, and what the server's processes hold of memory meanwhile."""

from __future__ import annotations

import itertools
import random
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from processes import cpu_seconds, memory_bytes
from servers import RunningServer
from tiny_model import write_tiny_model

from llamawire.v1 import chat_pb2

NUM_CALLERS = 8
NUM_SAMPLES = 40

# Until then caches fill up, and allocators learn how much is needed.
WARM_UP_SHARE = 0.3

IDLE_SECONDS = 2.0
IDLE_SPELLS = 3
SETTLING_SECONDS = 1.0

# A token is a byte here: each prompt begins with one of these, or with nothing that any other one has.
SHARED = [f"Caller {number}: this begins like others. " for number in range(4)]
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
_FIELDS = "threads: 1, parallel: 4, kv_cache_tokens: 1024, prompt_cache_tokens: 512"


@dataclass
class Process:
    """One of the server's processes."""

    name: str
    pid: int
    memory: list[int] = field(default_factory=list)
    """In bytes, at even distances."""

    idle_share: float = 0.0
    """Of one core, while nobody asks for anything, in the quietest of some spells: what the last requests have left
    to be done is none of it, nor what a busy machine makes of a few milliseconds."""

    @property
    def growth_bytes(self) -> float:
        """By how much it holds more in the second half than in the first, its warm-up left out."""
        warm = self.memory[int(len(self.memory) * WARM_UP_SHARE) :]
        half = len(warm) // 2
        return statistics.mean(warm[half:]) - statistics.mean(warm[:half])


@dataclass
class Account:
    """What came of a soak."""

    processes: list[Process]
    num_answered: int = 0
    num_cancelled: int = 0
    num_cached: int = 0
    """Of the answered ones: those whose prompt was found in part."""

    failures: list[str] = field(default_factory=list)


def write_models(folder: Path) -> tuple[str, ...]:
    """A model that costs next to nothing; gives the server's arguments."""
    write_tiny_model(folder / "tiny.gguf")
    (folder / "models.yaml").write_text(
        f'tiny: {{path: {folder}/tiny.gguf, {_FIELDS}, chat_template: "{TEMPLATE}"}}\n'
    )
    return ("--models-yaml", str(folder / "models.yaml"), "--preload", "tiny")


def soak(server: RunningServer, num_requests: int, seed: int) -> Account:
    """Ask as often as that, and then nothing for a while."""
    (worker,) = server.worker_pids()
    account = Account([Process("server", server.process.pid), Process("worker", worker)])
    lock = threading.Lock()

    def ask(number: int) -> None:
        outcome = _ask(server, random.Random(seed * 1_000_003 + number))
        with lock:
            account.num_answered += outcome in ("answered", "cached")
            account.num_cached += outcome == "cached"
            account.num_cancelled += outcome == "cancelled"
            if outcome.startswith("failed"):
                account.failures.append(outcome)

    edges = [num_requests * part // NUM_SAMPLES for part in range(NUM_SAMPLES + 1)]
    with ThreadPoolExecutor(NUM_CALLERS) as pool:
        for begin, end in itertools.pairwise(edges):
            list(pool.map(ask, range(begin, end)))
            for process in account.processes:
                process.memory.append(memory_bytes(process.pid))
    time.sleep(SETTLING_SECONDS)
    for process in account.processes:
        process.idle_share = 1.0
    for _ in range(IDLE_SPELLS):
        before = [cpu_seconds(process.pid) for process in account.processes]
        time.sleep(IDLE_SECONDS)
        for process, seconds in zip(account.processes, before, strict=True):
            process.idle_share = min(process.idle_share, (cpu_seconds(process.pid) - seconds) / IDLE_SECONDS)
    return account


def _ask(server: RunningServer, chance: random.Random) -> str:
    """One request of some kind; gives what came of it."""
    own = "".join(chance.choices("abcdefghijklmnop ", k=chance.randrange(1, 25)))
    content = chance.choice([*SHARED, ""]) + own
    request = chat_pb2.ChatCompletionRequest(
        model="tiny",
        messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=content)],
        max_tokens=chance.randrange(1, 16),
        n=chance.choice([1, 1, 1, 2]),
        temperature=chance.choice([0.0, 1.0]),
        seed=chance.randrange(1000),
    )
    if chance.random() < 0.2:
        request.prediction.content = own * 2
    if chance.random() < 0.2:
        request.stop.append(chance.choice("abc"))
    try:
        if chance.random() < 0.25:
            stream = server.chat.StreamChatCompletion(request)
            if chance.random() < 0.5:
                next(stream)
            stream.cancel()
            return "cancelled"
        answer = server.chat.CreateChatCompletion(request, timeout=60)
    except grpc.RpcError as error:
        return f"failed: {error}"
    return "cached" if answer.usage.prompt_cache_hit_tokens else "answered"
