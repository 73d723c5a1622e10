"""What must hold when the troubles are over, while the server drains, and when it is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from answers import RefusedError
from calls import Way
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ledger import Ledger, Verdict
from questions import Question
from servers import RunningServer
from watching import Watching

from llamawire import AsyncClient
from llamawire.v1 import model_pb2

QUIET_SECONDS = 30.0

LOADING = model_pb2.MODEL_STATE_LOADING
UNLOADING = model_pb2.MODEL_STATE_UNLOADING
READY = model_pb2.MODEL_STATE_READY


class Aftermath:
    """Looks at a server that nobody does any harm to any more."""

    def __init__(self, server: RunningServer, client: AsyncClient, ask: Way, ledger: Ledger) -> None:
        self._server = server
        self._client = client
        self._ask = ask
        self._ledger = ledger

    async def check(self, verdict: Verdict, questions: Sequence[Question], watching: Watching) -> None:
        """All is at rest, known to the watchers, and answers as before."""
        await self._wait_for(self._fault_in_workers)
        for question in questions:
            verdict.judge(question, await self._ask(question, None, True), "when all was over")
        await self._count_tokens(verdict)
        await self._wait_for(self._fault_in_workers)

        async def fault_in_news() -> str:
            return watching.fault(await self._client.models.list())

        watching.hurry()
        await self._wait_for(fault_in_news)
        stub = health_pb2_grpc.HealthStub(self._server.channel)
        health = stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=QUIET_SECONDS)
        if health.status != health_pb2.HealthCheckResponse.SERVING:
            self._ledger.note_wrong(f"the server's health is {health.status}")

    async def drain(self, verdict: Verdict, questions: Sequence[Question]) -> None:
        """Tell the server to end while it answers these questions to one model, and kill its worker over them."""
        name = questions[0].model
        asked = [asyncio.create_task(self._ask(question, None, True)) for question in questions]

        async def has_them_all() -> str:
            num_done = sum(task.done() for task in asked)
            num_active = (await self._client.models.get(name)).active_requests
            return "" if num_done + num_active >= len(asked) else f"the server has {num_active} requests"

        await self._wait_for(has_them_all)
        workers = self._server.worker_pids()
        self._server.process.send_signal(signal.SIGTERM)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        for question, task in zip(questions, asked, strict=True):
            try:
                verdict.judge(question, await task, "during the drain")
            except RefusedError as refusal:
                self._ledger.note_wrong(f"during the drain: {refusal}\n  {question}")

    async def _count_tokens(self, verdict: Verdict) -> None:
        """Of answers that can't be compared: what is missing from one, or there twice, changes its length."""
        by_model = sorted(verdict.uncompared, key=lambda answered: answered[0].model)
        for question, answer, how in by_model:
            # What is no UTF-8 is lost, and has no tokens of its own.
            if any("\N{REPLACEMENT CHARACTER}" in text for text in answer.texts):
                continue
            num_tokens = 0
            for text in answer.texts:
                counted = await self._client.tokenizer.tokenize(question.model, text, add_special=False)
                num_tokens += len(counted.tokens)
            verdict.judge_length(question, answer, how, num_tokens)

    async def _wait_for(self, find_fault: Callable[[], Awaitable[str]]) -> None:
        end = time.monotonic() + QUIET_SECONDS
        while fault := await find_fault():
            if time.monotonic() > end:
                self._ledger.note_wrong(f"{QUIET_SECONDS:g} s after the end: {fault}")
                return
            await asyncio.sleep(0.05)

    async def _fault_in_workers(self) -> str:
        models = await self._client.models.list()
        moving = [
            model.name for model in models if model.state in (LOADING, UNLOADING) or model.active_requests
        ]
        if moving:
            return f"{moving} are not at rest"
        num_ready = sum(model.state == READY for model in models)
        states = {pid: _state(pid) for pid in _children(self._server.process.pid)}
        if len(states) != num_ready or "Z" in states.values():
            return f"{num_ready} models are ready, and the server's children are {states}"
        if replaced := [pid for pid in states if ".gguf (deleted)" in _maps(pid)]:
            return f"workers {replaced} have files that were replaced"
        return ""


def check_remains(ledger: Ledger, pids: set[int], folder: Path, files_before: set[Path]) -> None:
    """The server is gone, and nothing of it is left. pids: of all workers that it had."""
    if left := [pid for pid in pids if _is_worker(pid)]:
        ledger.note_wrong(f"these workers outlived their server: {left}")
    if new := files_in(folder) - files_before:
        ledger.note_wrong(f"these files were left: {sorted(map(str, new))}")
    shared = Path("/dev/shm")
    names = [path.name for path in shared.iterdir()] if shared.is_dir() else []
    if new_names := [name for name in names if any(str(pid) in name for pid in pids)]:
        ledger.note_wrong(f"this shared memory was left: {new_names}")


def files_in(folder: Path) -> set[Path]:
    """Files and sockets in the folder and below it."""
    return {path for path in folder.rglob("*") if not path.is_dir()}


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def _maps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


def _is_worker(pid: int) -> bool:
    try:
        return b"llamawire_server.worker.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
