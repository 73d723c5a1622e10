"""A model, the setups that run it, and the workloads that they are measured by."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.bare_loop import BareLoop, LoopSettings
from bench.results import Results
from bench.setups.llama_cpp_python import llama_cpp_python
from bench.setups.llama_server import llama_server
from bench.setups.llamawire_server import llamawire_server
from bench.setups.server_process import StartError
from bench.setups.setup import BARE_LOOP, LLAMA_CPP_PYTHON, LLAMA_SERVER, ModelSettings, Setup
from bench.streams import NoAnswerError
from bench.workloads.workload import Values, Workload


@dataclass(frozen=True)
class Stage:
    """What runs side by side."""

    settings: ModelSettings
    folder: Path
    """For logs."""

    peers_python: Path
    without: frozenset[str]
    """Setups to leave out."""


@dataclass(frozen=True)
class RunningSetups:
    """Everything that is measured; the servers idle while it is not their turn."""

    servers: list[Setup]
    loop: BareLoop | None


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[RunningSetups]:
    """All setups of a stage. A peer that can't be had is left out. Raises StartError for llamawire itself."""
    settings = stage.settings
    async with AsyncExitStack() as stack:
        loop = None
        if BARE_LOOP not in stage.without:
            loop = stack.enter_context(
                BareLoop(
                    LoopSettings(
                        settings.model_file, settings.threads, settings.num_slots, settings.kv_cache_tokens
                    )
                )
            )
        servers = await stack.enter_async_context(llamawire_server(settings, stage.folder))
        for name, start in ((LLAMA_SERVER, llama_server), (LLAMA_CPP_PYTHON, llama_cpp_python)):
            if name in stage.without:
                continue
            try:
                servers += await stack.enter_async_context(start(settings, stage.folder, stage.peers_python))
            except StartError as error:
                _say(f"{name} is left out: {error}")
        yield RunningSetups([server for server in servers if server.name not in stage.without], loop)


async def warm_up(setups: RunningSetups, workload: Workload) -> None:
    """The first run of each pays for pages, caches and connections."""
    if setups.loop is not None:
        workload.measure_bare(setups.loop)
    for setup in setups.servers:
        await _measured(workload, setup)


async def run_round(
    setups: RunningSetups, workloads: Sequence[Workload], number: int, results: Results
) -> None:
    """Every workload, each setup's turn right after another's, and another one first in every round."""
    for workload in workloads:
        _say(f"round {number + 1}: {workload.title}")
        if setups.loop is not None and (bare := workload.measure_bare(setups.loop)) is not None:
            results.add(workload.name, BARE_LOOP, number, bare)
        suited = [setup for setup in setups.servers if workload.suits(setup)]
        first = number % max(1, len(suited))
        for setup in suited[first:] + suited[:first]:
            if (values := await _measured(workload, setup)) is not None:
                results.add(workload.name, setup.name, number, values)


async def _measured(workload: Workload, setup: Setup) -> Values | None:
    begin = time.monotonic()
    try:
        values = await workload.measure(setup)
    except (NoAnswerError, ValueError) as error:
        _say(f"{setup.name} has nothing to show for {workload.title}: {error}")
        return None
    _say(f"  {setup.name}: {time.monotonic() - begin:.1f} s")
    return values


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
