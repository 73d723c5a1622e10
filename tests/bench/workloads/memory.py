"""What the servers take up besides the model's file."""

from __future__ import annotations

from bench.bare_loop import BareLoop
from bench.memory_use import memory_of, memory_of_tree
from bench.setups.setup import HTTP, Setup
from bench.workloads.workload import Values, Workload, mebibytes


class Memory(Workload):
    """Of the process with the model in it, and of all others that belong to the server."""

    name = "memory"
    title = "memory besides the model's file"
    figures = (
        mebibytes("engine_pss", "process with the model, PSS"),
        mebibytes("engine_rss", "process with the model, RSS"),
        mebibytes("rest_pss", "the server's other processes, PSS"),
        mebibytes("rest_rss", "the server's other processes, RSS"),
    )

    def suits(self, setup: Setup) -> bool:
        return setup.name != HTTP  # the same server as over gRPC

    async def measure(self, setup: Setup) -> Values:
        engine = memory_of(setup.worker_pid)
        tree = memory_of_tree(setup.pid)
        values: Values = {"engine_pss": engine.pss_bytes, "engine_rss": engine.rss_bytes}
        if setup.worker_pid != setup.pid:
            values["rest_pss"] = tree.pss_bytes - engine.pss_bytes
            values["rest_rss"] = tree.rss_bytes - engine.rss_bytes
        return values

    def measure_bare(self, loop: BareLoop) -> Values:
        use = memory_of(loop.pid)
        return {"engine_pss": use.pss_bytes, "engine_rss": use.rss_bytes}
