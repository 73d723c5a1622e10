"""What processes hold of memory, by the kernel's own account (Linux)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# A mapping's first line: addresses, permissions, offset, device, inode, and the file if there is one.
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$")
_KIB = 1024


@dataclass(frozen=True)
class MemoryUse:
    """Without the pages of models' files, which all setups map and the kernel shares among them."""

    pss_bytes: int
    """With each page divided by the number of processes that map it."""

    rss_bytes: int

    def __add__(self, other: MemoryUse) -> MemoryUse:
        return MemoryUse(self.pss_bytes + other.pss_bytes, self.rss_bytes + other.rss_bytes)


def memory_of(pid: int) -> MemoryUse:
    """What one process holds."""
    return read_smaps((_PROC / str(pid) / "smaps").read_text(encoding="utf-8", errors="replace"))


def memory_of_tree(pid: int) -> MemoryUse:
    """A process and all below it."""
    total = memory_of(pid)
    for child in children_of(pid):
        total += memory_of_tree(child)
    return total


def children_of(pid: int) -> list[int]:
    """The processes that a process started, from any of its threads."""
    lists = (_PROC / str(pid) / "task").glob("*/children")
    return [int(child) for file in lists for child in file.read_text().split()]


def read_smaps(text: str) -> MemoryUse:
    """Add up /proc/PID/smaps, without the mappings of GGUF files."""
    pss = rss = 0
    is_model = False
    for line in text.splitlines():
        if found := _MAPPING.match(line):
            is_model = found[1].endswith(".gguf")
        elif not is_model and line.startswith(("Pss:", "Rss:")):
            size = int(line.split()[1]) * _KIB
            if line.startswith("Pss:"):
                pss += size
            else:
                rss += size
    return MemoryUse(pss, rss)
