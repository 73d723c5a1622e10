"""The kernel's account of a process, without what models' files take up."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.memory_use import MemoryUse, children_of, memory_of, memory_of_tree, read_smaps

SMAPS = """\
55d0c8a00000-55d0c8a21000 rw-p 00000000 00:00 0                          [heap]
Size:                132 kB
Rss:                 100 kB
Pss:                  90 kB
Pss_Dirty:            80 kB
7f1e40000000-7f1e46000000 r--s 00000000 fe:01 1234                       /models/some model.gguf
Rss:               98304 kB
Pss:               20000 kB
7f1e48000000-7f1e48021000 r-xp 00000000 fe:01 77                         /usr/lib/libc.so.6
Rss:                  40 kB
Pss:                   4 kB
7f1e49000000-7f1e49021000 rw-p 00000000 00:00 0
Rss:                   8 kB
Pss:                   8 kB
"""


def test_a_models_pages_are_left_out() -> None:
    assert read_smaps(SMAPS) == MemoryUse(pss_bytes=102 * 1024, rss_bytes=148 * 1024)


def test_a_tree_has_its_children_in_it() -> None:
    code = "print(bytearray(2**25)[0], flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in children_of(os.getpid())
        assert memory_of_tree(os.getpid()).rss_bytes > memory_of(os.getpid()).rss_bytes
        child.communicate(b"\n")
