"""Letting go of what was mapped into memory only to be read once."""

from __future__ import annotations

import ctypes
from pathlib import Path

_MADV_DONTNEED = 4  # of Linux, which alone has /proc/self/maps


def release_mapped_files(maps: Path = Path("/proc/self/maps")) -> None:
    """Let go of the pages of files that are mapped to be read; those that are used again come back by themselves.

    llama.cpp copies weights of some kinds into an order that computes faster, and keeps the file mapped with all of
    its pages: a model would count up to twice. The pages stay in the system's cache, where coming back is cheap.
    """
    try:
        lines = maps.read_text().splitlines()
    except OSError:
        return
    libc = ctypes.CDLL(None)
    for line in lines:
        addresses, access, _ = line.split(maxsplit=2)
        if access == "r--s":
            start, end = (int(address, 16) for address in addresses.split("-"))
            # Where it fails, the pages stay.
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
