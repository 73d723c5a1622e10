"""The events of several prompts' generations as the chunks of a completion, or as the whole of it."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from llamawire.v1 import chat_pb2, completion_pb2
from llamawire_server.pool.pool import Lease
from llamawire_server.service.completions.logprobs import TextOffsets, prompt_logprobs
from llamawire_server.service.cost import timings_of, total, usage_of
from llamawire_server.service.running_usage import RunningUsage
from llamawire_server.worker.messages import Completed, Echo, Event, Logprob, TextDelta

FINISH_REASONS = {"stop": chat_pb2.FINISH_REASON_STOP, "length": chat_pb2.FINISH_REASON_LENGTH}

PromptEvents: TypeAlias = "tuple[int, Sequence[Event]]"
"""The events of a prompt, after its number."""


@dataclass
class News:
    """What is new in one choice."""

    echo: Echo | None = None
    text: list[str] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)
    finish_reason: chat_pb2.FinishReason.ValueType = chat_pb2.FINISH_REASON_UNSPECIFIED

    def add(self, event: TextDelta) -> None:
        """Note more of the choice."""
        if event.echo is not None:
            self.echo = event.echo
        self.text.append(event.text)
        self.logprobs += event.logprobs
        if event.finish_reason:
            self.finish_reason = FINISH_REASONS[event.finish_reason]

    @property
    def mean_logprob(self) -> float:
        """How likely its tokens were on average, where this is all that there is; infinitely unlikely without any."""
        if not self.logprobs:
            return -math.inf
        return math.fsum(found.logprob for found in self.logprobs) / len(self.logprobs)

    def choice(self, index: int, offsets: TextOffsets | None) -> completion_pb2.CompletionChoice:
        """It as a choice of the answer. offsets: where its next token begins; None where nobody wants to know."""
        text = "".join(self.text)
        choice = completion_pb2.CompletionChoice(index=index, finish_reason=self.finish_reason)
        if self.echo is not None:
            choice.text = self.echo.text + text
            if offsets is not None:
                choice.logprobs.tokens.extend(prompt_logprobs(self.echo))
                offsets.skip(self.echo.text)
        else:
            choice.text = text
        if offsets is not None and self.logprobs:
            choice.logprobs.tokens.extend(map(offsets.place, self.logprobs))
        return choice


class CompletionAnswer:
    """One answer on its way: its identity, and what the events of its prompts become."""

    def __init__(
        self,
        lease: Lease,
        num_prompts: int,
        num_choices: int,
        arrived: float,
        *,
        num_generated: int | None = None,
        has_logprobs: bool = False,
        has_running_usage: bool = False,
    ) -> None:
        """num_choices: of each prompt. arrived: when the request came, by time.monotonic. num_generated: how many of
        a prompt's choices the best are chosen of; None: no more than there are. has_logprobs: whether they were asked
        for. has_running_usage: whether every chunk is to have the usage by then, which takes events that have
        counts."""
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._lease = lease
        # What every chunk repeats, serialised: to parse it takes a fraction of what setting the fields takes.
        self._envelope = completion_pb2.CompletionChunk(
            id=self._id,
            created=self._created,
            model=lease.entry.name,
            system_fingerprint=lease.system_fingerprint,
        ).SerializeToString()
        self._num_prompts = num_prompts
        self._num_choices = num_choices
        self._num_generated = num_generated or num_choices
        self._seconds_before_queue = time.monotonic() - arrived
        self._has_logprobs = has_logprobs
        self._running_usage = RunningUsage() if has_running_usage else None
        self._offsets: dict[int, TextOffsets] = {}
        self._completed: list[Completed] = []

    def chunks(self, steps: Sequence[PromptEvents]) -> Iterator[completion_pb2.CompletionChunk]:
        """The events of one or more steps as chunks: one, or none where there is no news yet."""
        if self._running_usage is not None:
            for number, events in steps:
                self._running_usage.note(events, number)
        if found := _only_text(steps):
            # One token of one choice, as nearly always: there is nothing to sort.
            number, delta = found
            chunk = self._chunk()
            choice = chunk.choices.add()
            choice.index, choice.text = number * self._num_choices + delta.index, delta.text
            yield chunk
            return
        news = self._sort(steps)
        chunk = self._chunk()
        for (number, index), new in sorted(news.items()):
            choice = new.choice(number * self._num_choices + index, self._offsets_of(number, index))
            if choice.text or choice.finish_reason or choice.HasField("logprobs"):
                chunk.choices.append(choice)
        is_last = len(self._completed) == self._num_prompts
        if is_last:
            completed = total(self._completed)
            chunk.usage.CopyFrom(usage_of(completed))
            chunk.timings.CopyFrom(
                timings_of(completed, self._lease.waited_seconds, self._seconds_before_queue)
            )
        if chunk.choices or is_last:
            yield chunk

    def whole(self, steps: Iterable[PromptEvents]) -> completion_pb2.Completion:
        """All of the request's events as one answer."""
        answer = completion_pb2.Completion.FromString(self._envelope)  # which has the same fields
        news = self._sort(steps)
        for number in range(self._num_prompts):
            generated = [new for (prompt, _), new in sorted(news.items()) if prompt == number]
            if self._num_generated > self._num_choices:
                generated.sort(key=lambda new: -new.mean_logprob)
            for index, new in enumerate(generated[: self._num_choices]):
                offsets = TextOffsets() if self._has_logprobs else None
                choice = new.choice(number * self._num_choices + index, offsets)
                if self._has_logprobs:
                    choice.logprobs.SetInParent()
                answer.choices.append(choice)
        completed = total(self._completed)
        answer.usage.CopyFrom(usage_of(completed))
        answer.timings.CopyFrom(timings_of(completed, self._lease.waited_seconds, self._seconds_before_queue))
        return answer

    def _chunk(self) -> completion_pb2.CompletionChunk:
        """A chunk without news."""
        chunk = completion_pb2.CompletionChunk.FromString(self._envelope)
        if self._running_usage is not None:
            chunk.usage.CopyFrom(self._running_usage.usage())
        return chunk

    def _offsets_of(self, number: int, index: int) -> TextOffsets | None:
        if not self._has_logprobs:
            return None
        return self._offsets.setdefault(number * self._num_choices + index, TextOffsets())

    def _sort(self, steps: Iterable[PromptEvents]) -> dict[tuple[int, int], News]:
        """What is new, by prompt and choice; notes which prompts are done."""
        news: dict[tuple[int, int], News] = {}
        for number, events in steps:
            for event in events:
                if isinstance(event, TextDelta):
                    news.setdefault((number, event.index), News()).add(event)
                elif isinstance(event, Completed):
                    self._completed.append(event)
        return news


def _only_text(steps: Sequence[PromptEvents]) -> tuple[int, TextDelta] | None:
    """The one event with its prompt's number, if it is more text and nothing else."""
    if len(steps) != 1 or len(steps[0][1]) != 1:
        return None
    number, (event,) = steps[0]
    if not isinstance(event, TextDelta) or not event.text or event.finish_reason:
        return None
    return None if event.echo is not None or event.logprobs else (number, event)
