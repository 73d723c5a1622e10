"""Python's garbage collector, in processes that live long."""

from __future__ import annotations

import gc


def keep_what_is_there() -> None:
    """What is in memory now stays to the end: no collection is to look through it again, for tens of milliseconds in
    which every stream waits."""
    gc.collect()
    gc.freeze()
