"""What this machine gives this process: cores and memory, control groups (containers) included."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llamawire_server.config import MemoryAmount

# What is taken for the machine's memory where the system says nothing of it.
_UNKNOWN_TOTAL_BYTES = 8 * 1024**3


@dataclass(frozen=True)
class Memory:
    """Memory of the machine, or of the control group where that allows less."""

    total_bytes: int
    available_bytes: int
    is_limited: bool
    """Whether a control group allows less than the machine has."""


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may keep busy: its affinity mask and its control groups' CPU quota. At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _control_groups(root, "cpu"):
        quota, period = _cpu_quota(folder)
        if quota > 0 and period > 0:
            cores = min(cores, quota // period)
    return max(1, cores)


def memory(root: Path = Path("/")) -> Memory | None:
    """Memory that this process may use; None where the system doesn't say (it does on Linux)."""
    machine = _kilobyte_fields(root / "proc/meminfo")
    try:
        total, available = machine["MemTotal"], machine["MemAvailable"]
    except KeyError:
        return None
    limited = False
    for folder in _control_groups(root, "memory"):
        limit, used = _memory_limit(folder)
        if 0 <= limit < machine["MemTotal"]:
            limited = True
            total = min(total, limit)
            available = min(available, max(0, limit - used))
    return Memory(total, available, limited)


def amount_bytes(amount: MemoryAmount, memory: Memory | None) -> int:
    """An amount in bytes. A share is of `memory`, or, where that is None, of what else the system says it has."""
    if amount.size_bytes is not None:
        return amount.size_bytes
    total_bytes = memory.total_bytes if memory else _physical_bytes() or _UNKNOWN_TOTAL_BYTES
    return int(total_bytes * (amount.share or 0.0))


def resident_bytes(root: Path = Path("/")) -> int:
    """Main memory that this process holds now; where the system doesn't tell that, the most that it ever held."""
    try:
        return _kilobyte_fields(root / "proc/self/status")["VmRSS"]
    except KeyError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _physical_bytes() -> int | None:
    try:
        num_pages = os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    return num_pages * os.sysconf("SC_PAGE_SIZE") if num_pages > 0 else None


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the groups that limit this process: its own and every one above it, of either version."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top = mount
        elif controller in controllers.split(","):
            top = mount / controller
        else:
            continue
        # In a container the path may be the host's, and the container's own group is the top.
        folder = top / path.lstrip("/")
        yield folder
        while folder != top:
            folder = folder.parent
            yield folder


def _cpu_quota(folder: Path) -> tuple[int, int]:
    """Quota and period in microseconds; a quota of -1 is none."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return (-1 if quota == "max" else int(quota)), int(period)


def _memory_limit(folder: Path) -> tuple[int, int]:
    """Limit and use in bytes; a limit of -1 is none."""
    if (folder / "memory.max").exists():
        return _number(folder / "memory.max"), _number(folder / "memory.current")
    return _number(folder / "memory.limit_in_bytes"), _number(folder / "memory.usage_in_bytes")


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return -1


def _kilobyte_fields(path: Path) -> dict[str, int]:
    """The amounts in a file such as /proc/meminfo, in bytes; other lines are left out."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in fields if words[2:] == ["kB"]}
