"""A worker's events as the chunks of an answer, or as the whole answer."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from llamawire.v1 import chat_pb2, usage_pb2
from llamawire_server.chat.tools import CallDelta
from llamawire_server.pool.pool import Lease
from llamawire_server.service.cost import timings_of, usage_of
from llamawire_server.service.probabilities import finite, token_text, top_logprobs
from llamawire_server.service.running_usage import RunningUsage
from llamawire_server.worker.messages import Completed, Event, Logprob, TextDelta

FINISH_REASONS = {
    "stop": chat_pb2.FINISH_REASON_STOP,
    "length": chat_pb2.FINISH_REASON_LENGTH,
    "tool_calls": chat_pb2.FINISH_REASON_TOOL_CALLS,
}
SERVICE_TIER = "default"
OPENING = chat_pb2.Delta(role=chat_pb2.ROLE_ASSISTANT, content="")


@dataclass
class News:
    """What is new in one choice."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, list[CallDelta]] = field(default_factory=dict)
    """By the call's index, in the order in which they came."""
    logprobs: list[Logprob] = field(default_factory=list)
    finish_reason: chat_pb2.FinishReason.ValueType = chat_pb2.FINISH_REASON_UNSPECIFIED
    matched_stop: str = ""

    def add(self, event: TextDelta) -> None:
        """Note more of the choice."""
        self.text.append(event.text)
        if event.reasoning:
            self.reasoning.append(event.reasoning)
        for call in event.calls:
            self.calls.setdefault(call.index, []).append(call)
        self.logprobs += event.logprobs
        if event.finish_reason:
            self.finish_reason = FINISH_REASONS[event.finish_reason]
            self.matched_stop = event.matched_stop

    def write(self, chunk: chat_pb2.ChatCompletionChunk, index: int) -> None:
        """Add it to a chunk as an entry of the choice, where there is anything beside the end."""
        content = "".join(self.text)
        if not (content or self.reasoning or self.calls or self.logprobs):
            return
        choice = _add(chunk, index)
        choice.delta.SetInParent()
        if content:
            choice.delta.content = content
        if self.reasoning:
            choice.delta.reasoning_content = "".join(self.reasoning)
        for number, deltas in sorted(self.calls.items()):
            # Clients join what comes of a call by its index, but not within one chunk.
            call = choice.delta.tool_calls.add(index=number)
            call.function.arguments = "".join(delta.arguments for delta in deltas)
            if deltas[0].id:
                call.id, call.type, call.function.name = deltas[0].id, "function", deltas[0].name
        if self.logprobs:
            choice.logprobs.content.extend(map(_logprob, self.logprobs))

    def message(self) -> chat_pb2.Message:
        """The whole message, where this is all that there is."""
        message = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT)
        content = "".join(self.text)
        if content or not self.calls:
            message.content = content
        if self.reasoning:
            message.reasoning_content = "".join(self.reasoning)
        for _, (first, *others) in sorted(self.calls.items()):
            arguments = "".join(delta.arguments for delta in (first, *others))
            function = chat_pb2.FunctionCall(name=first.name, arguments=arguments)
            message.tool_calls.add(id=first.id, type="function", function=function)
        return message


class Answer:
    """One answer on its way: its identity, and what its events become."""

    def __init__(
        self,
        lease: Lease,
        num_choices: int,
        arrived: float,
        *,
        has_logprobs: bool = False,
        has_running_usage: bool = False,
    ) -> None:
        """arrived: when the request came, by time.monotonic. has_logprobs: whether they were asked for.
        has_running_usage: whether every chunk is to have the usage by then, which takes events that have counts."""
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._lease = lease
        # What every chunk repeats, serialised: to parse it takes a fraction of what setting the fields takes.
        self._envelope = chat_pb2.ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=lease.entry.name,
            system_fingerprint=lease.system_fingerprint,
            service_tier=SERVICE_TIER,
        ).SerializeToString()
        self._num_choices = num_choices
        self._seconds_before_queue = time.monotonic() - arrived
        self._has_logprobs = has_logprobs
        self._running_usage = RunningUsage() if has_running_usage else None
        self._has_begun = False

    def chunks(self, events: Sequence[Event]) -> Iterator[chat_pb2.ChatCompletionChunk]:
        """The events of one or more steps as chunks: one for what all choices say, one for those that ended."""
        if self._running_usage is not None:
            self._running_usage.note(events)
        if self._has_begun and (delta := _only_text(events)):
            # One token of one choice, as nearly always: there is nothing to sort.
            chunk = self._chunk()
            _add(chunk, delta.index).delta.content = delta.text
            yield chunk
            return
        news, completed = _sort(events)
        if not self._has_begun:
            self._has_begun = True
            first = self._chunk()
            if self._running_usage is not None:
                first.usage.CopyFrom(self._running_usage.prompt_usage())
            for index in range(self._num_choices):
                _add(first, index).delta.MergeFrom(OPENING)
            yield first
        chunk = self._chunk()
        for index, new in sorted(news.items()):
            new.write(chunk, index)
        if chunk.choices:
            yield chunk
        ended = {index: new for index, new in sorted(news.items()) if new.finish_reason}
        if ended or completed is not None:
            last = self._chunk()
            for index, new in ended.items():
                choice = _add(last, index)
                choice.delta.SetInParent()
                choice.finish_reason = new.finish_reason
                choice.matched_stop = new.matched_stop
            if completed is not None:
                last.usage.CopyFrom(usage_of(completed))
                last.timings.CopyFrom(self._timings(completed))
            yield last

    def whole(self, events: Iterable[Event]) -> chat_pb2.ChatCompletion:
        """All of the request's events as one answer."""
        news, completed = _sort(events)
        completion = chat_pb2.ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._lease.entry.name,
            system_fingerprint=self._lease.system_fingerprint,
            service_tier=SERVICE_TIER,
            choices=[
                chat_pb2.Choice(
                    index=index,
                    message=new.message(),
                    finish_reason=new.finish_reason,
                    matched_stop=new.matched_stop,
                    logprobs=chat_pb2.Logprobs(content=map(_logprob, new.logprobs))
                    if self._has_logprobs
                    else None,
                )
                for index, new in sorted(news.items())
            ],
        )
        if completed is not None:
            completion.usage.CopyFrom(usage_of(completed))
            completion.timings.CopyFrom(self._timings(completed))
        return completion

    def _chunk(self) -> chat_pb2.ChatCompletionChunk:
        """A chunk without news."""
        chunk = chat_pb2.ChatCompletionChunk.FromString(self._envelope)
        if self._running_usage is not None:
            chunk.usage.CopyFrom(self._running_usage.usage())
        return chunk

    def _timings(self, completed: Completed) -> usage_pb2.Timings:
        return timings_of(completed, self._lease.waited_seconds, self._seconds_before_queue)


def _add(chunk: chat_pb2.ChatCompletionChunk, index: int) -> chat_pb2.ChunkChoice:
    choice = chunk.choices.add()
    choice.index = index
    return choice


def _only_text(events: Sequence[Event]) -> TextDelta | None:
    """The one event, if it is more text and nothing else."""
    if len(events) != 1:
        return None
    event = events[0]
    if not isinstance(event, TextDelta) or not event.text or event.finish_reason:
        return None
    return None if event.reasoning or event.calls or event.logprobs else event


def _sort(events: Iterable[Event]) -> tuple[dict[int, News], Completed | None]:
    news: dict[int, News] = {}
    completed = None
    for event in events:
        if isinstance(event, TextDelta):
            news.setdefault(event.index, News()).add(event)
        elif isinstance(event, Completed):
            completed = event
    return news, completed


def _logprob(source: Logprob) -> chat_pb2.TokenLogprob:
    return chat_pb2.TokenLogprob(
        token=token_text(source.piece),
        logprob=finite(source.logprob),
        bytes=source.piece,
        top_logprobs=top_logprobs(source),
    )
