"""A worker's main program: one model, one thread, messages in and events out.

Started by `worker.parent.process` as `python -m llamawire_server.worker.child FD`, where FD is the number of an
inherited socket. The worker ends when the other end of that socket is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from llamawire_server.engine.runner.model import ModelLoadError
from llamawire_server.garbage import keep_what_is_there
from llamawire_server.worker.child.loading import load
from llamawire_server.worker.child.outbox import Outbox
from llamawire_server.worker.messages import LoadFailed, Request, WorkerSetup
from llamawire_server.worker.wire import ConnectionClosedError, Inbox

log = logging.getLogger("llamawire_server.worker")

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _end_with_parent() -> None:
    """A worker that hangs does not see its connection close; Linux ends it with the server all the same."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _leave_signals_to_the_server() -> None:
    """Whoever ends a whole group of processes wants requests to be finished first: the server sees to it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _be_the_first_to_go() -> None:
    """Where the machine runs out of memory, a worker can be replaced, and the server can't."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def main() -> None:
    # What llama.cpp was asked to do when it died is worth a few lines in the log.
    faulthandler.enable()
    _end_with_parent()
    _leave_signals_to_the_server()
    _be_the_first_to_go()
    connection = socket.socket(fileno=int(sys.argv[1]))
    logging.basicConfig(
        level=os.environ.get("LLAMAWIRE_LOG_LEVEL", "INFO"),
        format=f"%(asctime)s %(levelname)s %(name)s[{os.getpid()}] %(message)s",
        stream=sys.stderr,
    )
    kinds: Any = WorkerSetup
    try:
        (setup,) = Inbox[WorkerSetup](connection, kinds).receive(None)
        outbox = Outbox(connection)
        try:
            desk = load(setup, outbox)
        except ModelLoadError as error:
            outbox.put(LoadFailed(str(error)))
            outbox.drain()
            return
        keep_what_is_there()
        desk.serve(Inbox(connection, Request))
    except ConnectionClosedError:
        log.debug("the server has closed the connection")


if __name__ == "__main__":
    main()
