"""A worker's main program: one model, one thread, messages in and events out.

Started by `process.WorkerProcess` as `python -m llamawire_server.worker.child FD`, where FD is the number of an
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
import time
from pathlib import Path
from typing import Any

import msgspec

from llamawire_server.chat.template import ChatTemplate, TemplateError
from llamawire_server.engine.budget import StepTargets
from llamawire_server.engine.engine import Engine
from llamawire_server.engine.runner.model import (
    GGML_LOG_LEVEL_ERROR,
    EngineLog,
    LoadedModel,
    ModelLoadError,
)
from llamawire_server.engine.runner.runner import LlamaRunner
from llamawire_server.machine import resident_bytes
from llamawire_server.worker.generations import Generations
from llamawire_server.worker.messages import (
    Cancel,
    CountTokens,
    Detokenize,
    Event,
    Events,
    Failed,
    Generate,
    Loaded,
    LoadFailed,
    Loading,
    Memory,
    Request,
    Taken,
    Text,
    TokenCount,
    Tokenize,
    Tokens,
    WorkerSetup,
)
from llamawire_server.worker.outbox import Outbox
from llamawire_server.worker.prompts import PromptBuilder, RequestError
from llamawire_server.worker.wire import ConnectionClosedError, Inbox

log = logging.getLogger("llamawire_server.worker")

SIGN_OF_LIFE_SECONDS = 0.5

# How often the worker looks at what it has in memory, and how much more is worth telling.
MEMORY_SECONDS = 5.0
MEMORY_BYTES = 1 << 20

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Worker:
    """A loaded model and the requests that it answers."""

    def __init__(self, setup: WorkerSetup, outbox: Outbox) -> None:
        """Load the model, reporting progress. Raises ModelLoadError."""
        self._outbox = outbox
        self._reported_share = -1.0
        self._last_sent = self._last_measured = time.monotonic()
        engine_log = EngineLog(_log_line)
        loaded = LoadedModel(Path(setup.path), setup.settings, engine_log, self._report_progress)
        runner = LlamaRunner(loaded)
        self._vocabulary = runner.vocabulary
        self._limits = runner.limits
        template = self._compile_template(setup.chat_template)
        self._prompts = PromptBuilder(runner.vocabulary, template, runner.limits.context_length)
        engine = Engine(
            runner,
            StepTargets(shared_seconds=setup.settings.token_interval_seconds),
            loaded.token_seconds,
            keeps_prefixes=setup.settings.prompt_cache,
        )
        self._generations = Generations(
            engine,
            runner.limits,
            runner.vocabulary,
            self._prompts,
            max_queued_tokens=setup.settings.max_queued_tokens,
            looks_back=setup.settings.prompt_lookup,
        )
        self._memory_bytes = resident_bytes()
        self._send(
            Loaded(
                num_parameters=loaded.facts.num_parameters,
                training_context_length=loaded.facts.training_context_length,
                context_length=runner.limits.context_length,
                vocabulary_size=loaded.facts.vocabulary_size,
                parallel=runner.limits.num_slots,
                kv_cache_tokens=runner.limits.kv_cache_tokens,
                memory_bytes=self._memory_bytes,
                token_seconds=loaded.token_seconds,
                has_chat_template=template is not None,
            )
        )

    def serve(self, inbox: Inbox[Request]) -> None:
        """Answer until the other side closes. Raises ConnectionClosedError then."""
        while True:
            self._outbox.flush()
            is_idle = not self._generations.has_work
            if is_idle and not self._outbox.is_empty:
                self._outbox.wait()
                is_idle = False
            events: list[Event] = []
            for request in inbox.receive(wait=is_idle):
                events += self._take(request)
                self._show_life()
            if self._generations.has_work:
                # Whatever a step does to this process, it is known whom it was for.
                events += self._generations.schedule()
                self._tell(events)
                events = self._generations.run()
            self._tell(events)
            self._tell_memory()

    def _tell(self, events: list[Event]) -> None:
        if events:
            self._send(Events(events))
        else:
            self._show_life()

    def _show_life(self) -> None:
        """Let the other side know that there is progress, if of nothing that can be told."""
        if time.monotonic() - self._last_sent >= SIGN_OF_LIFE_SECONDS:
            self._send(Events([]))

    def _tell_memory(self) -> None:
        if time.monotonic() - self._last_measured < MEMORY_SECONDS:
            return
        self._last_measured = time.monotonic()
        memory_bytes = resident_bytes()
        if memory_bytes >= self._memory_bytes + MEMORY_BYTES and self._send(Memory(memory_bytes)):
            self._memory_bytes = memory_bytes

    def _take(self, request: Request) -> list[Event]:
        if isinstance(request, Cancel):
            self._generations.cancel(request.request_id)
            return []
        try:
            return self._answer(request)
        except RequestError as error:
            return [error.event(request.request_id)]
        except Exception:
            log.exception("request %d failed", request.request_id)
            return [
                Failed(request.request_id, "ENGINE", "INFERENCE_ERROR", "the request failed in the engine")
            ]

    def _answer(self, request: Generate | Tokenize | Detokenize | CountTokens) -> list[Event]:
        if isinstance(request, Generate):
            self._generations.start(request)
            return [Taken(request.request_id)]
        if isinstance(request, Tokenize):
            tokens = self._vocabulary.tokenize(
                request.text, add_special=request.add_special, parse_special=request.parse_special
            )
            return [Tokens(request.request_id, tokens, [self._vocabulary.piece(token) for token in tokens])]
        if isinstance(request, Detokenize):
            text = self._vocabulary.detokenize(request.tokens, unparse_special=request.unparse_special)
            return [Text(request.request_id, text)]
        count = len(self._prompts.build(request.prompt, request.arrived_at))
        return [TokenCount(request.request_id, count, self._limits.context_length)]

    def _compile_template(self, source: str | None) -> ChatTemplate | None:
        if source is None:
            return None
        try:
            return ChatTemplate(
                source, bos_token=self._vocabulary.bos_text, eos_token=self._vocabulary.eos_text
            )
        except TemplateError as error:
            raise ModelLoadError(str(error)) from error

    def _report_progress(self, share: float) -> bool:
        if share - self._reported_share < 0.01 and share < 1:
            return True
        self._reported_share = share
        try:
            self._send(Loading(share))
        except ConnectionClosedError:
            return False
        return True

    def _send(self, message: msgspec.Struct) -> bool:
        """False where the message was left out, as others wait before it."""
        self._last_sent = time.monotonic()
        return self._outbox.put(message)


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


def _log_line(level: int, line: str) -> None:
    # llama.cpp warns of much that is as it should be.
    log.log(logging.ERROR if level >= GGML_LOG_LEVEL_ERROR else logging.DEBUG, "%s", line)


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
        (setup,) = Inbox[WorkerSetup](connection, kinds).receive(wait=True)
        outbox = Outbox(connection)
        try:
            worker = Worker(setup, outbox)
        except ModelLoadError as error:
            outbox.put(LoadFailed(str(error)))
            outbox.drain()
            return
        worker.serve(Inbox(connection, Request))
    except ConnectionClosedError:
        log.debug("the server has closed the connection")


if __name__ == "__main__":
    main()
