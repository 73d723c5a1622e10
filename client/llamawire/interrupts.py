"""Ctrl-C, where gRPC must not be interrupted."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from llamawire.response_stream import ResponseStream

StreamT = TypeVar("StreamT", bound=ResponseStream[Any, Any])


def open_uninterrupted(open_stream: Callable[[], StreamT]) -> StreamT:
    """A stream that was opened as a whole. Raises KeyboardInterrupt after a Ctrl-C meanwhile; it is closed then.

    A call whose beginning gRPC was interrupted in never ends: the connection could not even be closed.
    """
    with _interrupts_noted() as was_interrupted:
        stream = open_stream()
    if was_interrupted.is_set():
        stream.close()
        raise KeyboardInterrupt
    return stream


@contextlib.contextmanager
def _interrupts_noted() -> Iterator[threading.Event]:
    """Ctrl-C interrupts nothing here; it is noted. For what takes no time; signals are the main thread's."""
    was_interrupted = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: was_interrupted.set())
    try:
        yield was_interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
