"""One run: a server as a user would start it, a crowd of callers, troubles, and a look at what is left."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from aftermath import Aftermath, check_remains, files_in
from answers import Answer
from calls import GrpcCalls, HttpCalls, Way
from crowd import Caller
from ledger import Ledger, Verdict
from model_files import ModelFile
from questions import Question, greedy_questions, sampled_questions
from servers import RunningServer, launch
from troubles import Folder, Troubles
from watching import Watching

from llamawire import AsyncClient

NUM_CALLERS = 10
END_SECONDS = 60.0

# So many times as long as planned may a run take until enough has happened.
SLOWEST = 10

# Fewer places than models, so that they have to make room for each other; and no long waits for anything.
CONFIG = """
models_yaml: {catalog}
models_dir: {found}
models_poll_seconds: 0.2
pool:
  max_loaded_models: {max_models}
  room_timeout_seconds: 8
  abandoned_load_seconds: 2
worker:
  hang_seconds: 2
  longest_pause_seconds: 2
"""


@dataclass(frozen=True)
class Plan:
    """What a run is to do."""

    seconds: float
    """How long there are troubles, at least."""

    seed: int
    files: Sequence[ModelFile]
    """At least two; they are going to be replaced by their equals."""

    folder: Path
    """The files' folder, with nothing else in it."""

    most_questions: int = 4
    """Of each kind, to each model."""

    fewest_equal: int = 0
    """Answers that must be equal to the undisturbed ones before the troubles end."""

    fewest_kinds: int = 0
    """Of troubles, before they end."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    ledger: Ledger
    log: str
    """The server's."""


def run(plan: Plan) -> Outcome:
    """Do all of it. What is wrong is in the ledger."""
    # The faults of workers are made on purpose: nobody wants to look into their memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    folder = Folder(plan.folder, plan.files)
    folder.write_catalog()
    config = plan.folder / "config.yaml"
    max_models = len(plan.files) - 1
    config.write_text(CONFIG.format(catalog=folder.catalog, found=folder.found, max_models=max_models))
    log_file = plan.folder / "server.log"
    files_before = files_in(plan.folder) | {log_file}
    ledger = Ledger()
    with launch(log_file, plan.folder, "--config", str(config)) as server:
        pids = asyncio.run(_run(plan, folder, server, ledger))
        try:
            if (exit_code := server.process.wait(END_SECONDS)) != 0:
                ledger.note_wrong(f"the server's exit code is {exit_code}")
        except subprocess.TimeoutExpired:
            ledger.note_wrong(f"the server did not end in {END_SECONDS:g} s")
    check_remains(ledger, pids, plan.folder, files_before)
    log = log_file.read_text()
    if "Traceback" in log or "never awaited" in log:
        ledger.note_wrong(f"the server logged what no trouble explains:\n{log}")
    return Outcome(ledger, log)


async def _run(plan: Plan, folder: Folder, server: RunningServer, ledger: Ledger) -> set[int]:
    """Until the server drains; gives the processes of all workers that it had."""
    models = [file.name for file in plan.files]
    greedy = [question for model in models for question in greedy_questions(model, plan.most_questions)]
    sampled = [question for model in models for question in sampled_questions(model)]
    plain = [question for question in greedy if question.is_plain]
    async with _ways(server) as (client, ways):
        ask = ways["gRPC whole"]
        async with Watching(server.grpc_address) as watching:
            # One at a time, and model by model.
            undisturbed = {question: await ask(question, None, True) for question in greedy}
            verdict = Verdict(ledger, undisturbed)
            await _check_in_company(ways, verdict, greedy)
            if ledger.wrongs:
                ledger.note_wrong("that was before any trouble began")
            ledger.outcomes.clear()
            troubles = Troubles(server, client, ask, folder, ledger, f"{plan.seed}")
            is_over = _ending(plan, ledger)
            callers = [
                Caller(ledger, verdict, ways, greedy + sampled, f"{plan.seed} {number}")
                for number in range(NUM_CALLERS)
            ]
            await asyncio.gather(troubles.run(is_over), *(caller.run(is_over) for caller in callers))
            aftermath = Aftermath(server, client, ask, ledger)
            await aftermath.check(verdict, plain, watching)
        await aftermath.drain(verdict, [question for question in plain if question.model == models[0]])
    return troubles.pids


def _ending(plan: Plan, ledger: Ledger) -> Callable[[], bool]:
    """Whether all has happened that the plan asks for: on a slow machine, that takes longer."""
    began = time.monotonic()

    def is_over() -> bool:
        seconds = time.monotonic() - began
        kinds = {trouble.kind for trouble in ledger.troubles}
        is_enough = ledger.outcomes["equal"] >= plan.fewest_equal and len(kinds) >= plan.fewest_kinds
        return seconds >= (plan.seconds if is_enough else SLOWEST * plan.seconds)

    return is_over


@contextlib.asynccontextmanager
async def _ways(server: RunningServer) -> AsyncIterator[tuple[AsyncClient, Mapping[str, Way]]]:
    """A client that tries nothing again, and every way to ask."""
    url = f"http://{server.http_address}"
    async with (
        AsyncClient(server.grpc_address, retries=0) as client,
        AsyncClient(server.grpc_address, retries=10) as patient_client,
        httpx.AsyncClient(base_url=url, timeout=None, trust_env=False) as http_client,
    ):
        once, patient, http = GrpcCalls(client), GrpcCalls(patient_client), HttpCalls(http_client)
        yield (
            client,
            {
                "gRPC stream": once.stream,
                "gRPC whole": once.whole,
                "gRPC stream with retries": patient.stream,
                "gRPC whole with retries": patient.whole,
                "HTTP stream": http.stream,
                "HTTP whole": http.whole,
            },
        )


async def _check_in_company(ways: Mapping[str, Way], verdict: Verdict, questions: Sequence[Question]) -> None:
    """Ask all of one model at once, in every way: plain answers are the same in company, too."""
    for model in dict.fromkeys(question.model for question in questions):
        asked = [question for question in questions if question.model == model]
        names = [[*ways][place % len(ways)] for place in range(len(asked))]
        answers: list[Answer] = await asyncio.gather(
            *(ways[name](question, None, True) for name, question in zip(names, asked, strict=True))
        )
        for name, question, answer in zip(names, asked, answers, strict=True):
            verdict.judge(question, answer, f"{name}, in company")
