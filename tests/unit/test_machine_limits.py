"""Cores and memory, as the files of a made-up machine tell them."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from llamawire_server.config import MemoryAmount
from llamawire_server.machine import Memory, amount_bytes, memory, resident_bytes, usable_cores

GIBIBYTE = 1024**3


class Machine:
    """A folder that looks like /proc and /sys/fs/cgroup."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write(
            "proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 6291456 kB\nHugePages: 0\n"
        )

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    return Machine(tmp_path)


def test_without_control_groups_the_machine_is_the_limit(machine: Machine) -> None:
    assert usable_cores(machine.root) == 8
    assert memory(machine.root) == Memory(8 * GIBIBYTE, 6 * GIBIBYTE, is_limited=False)


def test_a_container_of_version_2_is_limited_at_the_top(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/\n")
    machine.write("sys/fs/cgroup/cpu.max", "250000 100000\n")
    machine.write("sys/fs/cgroup/memory.max", f"{2 * GIBIBYTE}\n")
    machine.write("sys/fs/cgroup/memory.current", f"{GIBIBYTE}\n")
    assert usable_cores(machine.root) == 2
    assert memory(machine.root) == Memory(2 * GIBIBYTE, GIBIBYTE, is_limited=True)


def test_the_tightest_of_nested_groups_counts(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/outer/inner\n")
    machine.write("sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n")
    machine.write("sys/fs/cgroup/outer/cpu.max", "300000 100000\n")
    machine.write("sys/fs/cgroup/outer/inner/memory.max", "max\n")
    machine.write("sys/fs/cgroup/outer/memory.max", f"{4 * GIBIBYTE}\n")
    machine.write("sys/fs/cgroup/outer/memory.current", f"{5 * GIBIBYTE}\n")
    assert usable_cores(machine.root) == 3
    assert memory(machine.root) == Memory(4 * GIBIBYTE, 0, is_limited=True)


def test_version_1_has_a_tree_for_each_controller(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "5:cpuset:/\n4:cpu,cpuacct:/job\n3:memory:/job\n")
    machine.write("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "50000\n")
    machine.write("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n")
    machine.write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", f"{GIBIBYTE}\n")
    machine.write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "0\n")
    assert usable_cores(machine.root) == 1, "half a core is still one thread"
    assert memory(machine.root) == Memory(GIBIBYTE, GIBIBYTE, is_limited=True)


def test_version_1_writes_no_limit_as_a_huge_one_or_minus_one(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "4:cpu:/\n3:memory:/\n")
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert usable_cores(machine.root) == 8
    assert memory(machine.root) == Memory(8 * GIBIBYTE, 6 * GIBIBYTE, is_limited=False)


def test_a_system_that_does_not_tell_is_none(tmp_path: Path) -> None:
    assert memory(tmp_path) is None
    assert usable_cores(tmp_path) >= 1


def test_a_fixed_amount_of_memory_is_what_it_says() -> None:
    amount = MemoryAmount(size_bytes=3 * GIBIBYTE)
    assert amount_bytes(amount, None) == 3 * GIBIBYTE
    assert amount_bytes(amount, Memory(GIBIBYTE, GIBIBYTE, is_limited=True)) == 3 * GIBIBYTE


def test_a_share_is_of_what_the_control_group_allows(machine: Machine) -> None:
    assert amount_bytes(MemoryAmount(share=0.5), memory(machine.root)) == 4 * GIBIBYTE
    machine.write("proc/self/cgroup", "0::/\n")
    machine.write("sys/fs/cgroup/memory.max", f"{2 * GIBIBYTE}\n")
    machine.write("sys/fs/cgroup/memory.current", f"{GIBIBYTE}\n")
    assert amount_bytes(MemoryAmount(share=0.5), memory(machine.root)) == GIBIBYTE


def test_a_share_where_there_is_no_meminfo_is_of_the_pages_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {"SC_PHYS_PAGES": 1024, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", values.__getitem__)
    assert amount_bytes(MemoryAmount(share=0.25), None) == 1024**2


@pytest.mark.parametrize("answer", [-1, ValueError("unrecognized configuration name"), OSError()])
def test_a_share_of_what_nobody_knows_is_of_8_gibibytes(
    monkeypatch: pytest.MonkeyPatch, answer: int | Exception
) -> None:
    def sysconf(_name: str) -> int:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(os, "sysconf", sysconf)
    assert amount_bytes(MemoryAmount(share=0.5), None) == 4 * GIBIBYTE


def test_resident_memory_is_read_from_the_status(machine: Machine) -> None:
    machine.write("proc/self/status", "Name:\tpython\nVmHWM:\t 9 kB\nVmRSS:\t    2048 kB\nThreads:\t1\n")
    assert resident_bytes(machine.root) == 2 * 1024**2


def test_memory_that_is_written_to_becomes_resident() -> None:
    before = resident_bytes()
    with mmap.mmap(-1, 64 * 1024**2) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        assert resident_bytes() - before > 48 * 1024**2


def test_without_a_status_resident_memory_is_the_most_that_there_was(tmp_path: Path) -> None:
    most = resident_bytes(tmp_path)
    assert resident_bytes() / 2 < most < 2**50
