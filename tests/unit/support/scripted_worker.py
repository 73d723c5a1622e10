"""A worker's requests with a runner and a vocabulary that need no model."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from typing import Any

from answer_plans import plans_of
from sampling import GREEDY

from llamawire_server.chat.template import ChatTemplate
from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.engine import Engine
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.step import Limits, Move, Sampled, Slice
from llamawire_server.worker.child.answer_plans import GrammarCompiler
from llamawire_server.worker.child.generations import Generations
from llamawire_server.worker.child.prompts import PromptBuilder
from llamawire_server.worker.messages import ChatPrompt, Completed, Event, Generate, Started, TextDelta
from llamawire_server.worker.progress import ChoiceProgress, Progress

END = 256
LIMITS = Limits(num_slots=4, kv_cache_tokens=400, context_length=100, batch_tokens=64)


class Bytes:
    """A vocabulary of the 256 bytes, and one end token."""

    bos_text = "^"
    longest_piece_bytes = 1

    def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, limit: int | None = None
    ) -> list[int]:
        return list(("^" if add_special else "").encode() + text.encode())

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < END else b""

    def named_piece(self, token: int) -> bytes:
        return self.piece(token) or b"<end>"

    def marked_pieces(self, markers: SequenceOf[str]) -> dict[int, bytes]:
        return {}


class Script:
    """A runner that says what it is told, byte by byte, to each choice."""

    limits = LIMITS
    end_token_ids = frozenset({END})

    def __init__(self, *texts: str) -> None:
        self.texts = [deque([*text.encode(), END]) for text in texts]
        self.fails = False
        self.failure = ""
        """Why no sequence can go on."""
        self.prompts: set[str] = set()

    def run(self, slices: list[Slice]) -> Mapping[Sequence, Sampled]:
        if self.fails:
            raise DecodeError
        for piece in slices:
            self.prompts.add(bytes(piece.sequence.tokens[: piece.sequence.num_prompt_tokens]).decode())
        return {sequence: self._next(sequence) for piece in slices for sequence in piece.samples}

    def _next(self, sequence: Sequence) -> Sampled:
        if self.failure:
            return Sampled([], failure=self.failure)
        forced = sequence.forced_tokens
        token = forced[0] if forced else self.texts[sequence.index].popleft()
        if sequence.num_top_logprobs is None:
            return Sampled([token])
        return Sampled([token], [TokenLogprobs(token, -1.0, [(END, -0.5)] * sequence.num_top_logprobs)])

    def move(self, move: Move) -> None:
        pass

    def cut(self, slot: int, num_tokens: int) -> bool:
        return True

    def clear(self) -> None:
        raise AssertionError

    def forget(self, sequence: Sequence) -> None:
        pass


def generate(
    content: str = "hi",
    *,
    stops: list[str] | None = None,
    max_tokens: int | None = None,
    n: int = 1,
    stop_token_ids: list[int] | None = None,
    tools: list[dict[str, Any]] | None = None,
    **fields: Any,
) -> Generate:
    return Generate(
        request_id=1,
        arrived=time.monotonic(),
        arrived_at=time.time(),
        prompt=ChatPrompt([{"role": "user", "content": content}], tools or []),
        sampling=GREEDY,
        max_tokens=max_tokens or 2048,
        is_max_tokens_explicit=max_tokens is not None,
        num_choices=n,
        stops=stops or [],
        stop_token_ids=stop_token_ids or [],
        **fields,
    )


def make(
    script: Script,
    template: str | None = "{{ messages[0].content }}:",
    *,
    style: str = "none",
    grammars: GrammarCompiler | None = None,
    patience_seconds: float = 60,
    max_queued_tokens: int = 1_000_000,
) -> Generations:
    prompts = PromptBuilder(
        Bytes(), ChatTemplate(template) if template is not None else None, LIMITS.context_length
    )
    plans = plans_of(Bytes(), style=style, grammars=grammars)
    return Generations(
        Engine(script),
        LIMITS,
        Bytes(),
        prompts,
        plans,
        max_queued_tokens=max_queued_tokens,
        patience_seconds=patience_seconds,
    )


def step(generations: Generations) -> list[Event]:
    """What a step brings, the requests that begin with it first."""
    return generations.schedule() + generations.run()


def run(generations: Generations) -> list[Event]:
    """All that comes of the requests, but for the news that they have begun."""
    events: list[Event] = []
    while generations.has_work:
        events += [event for event in step(generations) if not isinstance(event, Started)]
    return events


def text_of(events: list[Event], index: int = 0) -> str:
    return "".join(e.text for e in events if isinstance(e, TextDelta) and e.index == index)


def ends_of(events: list[Event]) -> list[str]:
    return [e.finish_reason for e in events if isinstance(e, TextDelta) and e.finish_reason]


def choices_of(events: list[Event], num_choices: int) -> list[ChoiceProgress]:
    """How far a request's choices had come, by what was told of them."""
    deltas = [event for event in events if isinstance(event, TextDelta)]
    return [
        ChoiceProgress(
            [token for delta in deltas if delta.index == index for token in delta.tokens],
            next((d.finish_reason for d in deltas if d.index == index and d.finish_reason), ""),
        )
        for index in range(num_choices)
    ]


def progress_of(events: list[Event], num_choices: int) -> Progress:
    """How far a request had come, for another worker to go on with."""
    has_begun = any(isinstance(event, TextDelta) for event in events)
    return Progress(choices_of(events, num_choices), started=1.0, first_token=2.0 if has_begun else None)


def completed(events: list[Event]) -> Completed:
    last = events[-1]
    assert isinstance(last, Completed)
    return last
