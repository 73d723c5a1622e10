"""A streamed response as typed events, in the order in which OpenAI's clients expect them.

An item of the output opens, gets parts and deltas, and is done before the next one opens. The first two events and
the last one have the whole response as it stands.
"""

from __future__ import annotations

from collections.abc import Callable

from llamawire.v1 import chat_pb2, usage_pb2
from llamawire_server.errors import ServiceError
from llamawire_server.shim.http.errors import error_body
from llamawire_server.shim.http.response_types import Json
from llamawire_server.shim.responses import answers
from llamawire_server.shim.responses.open_items import (
    EventWriter,
    OpenCall,
    OpenItem,
    OpenMessage,
    OpenReasoning,
)


class ResponseEvents:
    """Writes the events of one stream."""

    def __init__(self, response: Json, keep: Callable[[Json], None]) -> None:
        """response: as it begins. keep: told of it once it has ended, before the caller is."""
        self._response = response
        self._keep = keep
        self._writer = EventWriter()
        self._has_begun = False
        self._output: list[Json] = []
        self._open: OpenItem | None = None
        self._finish_reason = chat_pb2.FINISH_REASON_UNSPECIFIED
        self._usage, self._timings = usage_pb2.Usage(), usage_pb2.Timings()

    def write(self, chunk: chat_pb2.ChatCompletionChunk) -> bytes:
        """The events of one chunk."""
        if not self._has_begun:
            # What the response is called before its first chunk, it is called to its end.
            self._response["model"] = chunk.model
            self._begin()
        for choice in chunk.choices:
            self._add(choice)
        if chunk.HasField("usage"):
            self._usage, self._timings = chunk.usage, chunk.timings
        return self._writer.take()

    def keep_alive(self) -> bytes:
        """The response as it stands, once more."""
        if self._has_begun:
            self._writer.write("response.in_progress", response=self._response)
        else:
            self._begin()
        return self._writer.take()

    def end(self) -> bytes:
        """What ends the open item and the stream."""
        reason = self._finish_reason
        so_far = self._output if self._open is None else [*self._output, self._open.so_far()]
        if answers.needs_text(so_far, reason):
            self._message()
        if self._open is not None:
            self._output.append(self._open.close(answers.item_status(reason)))
        finished = answers.finish(self._response, self._output, reason)
        response = answers.with_cost(finished, self._usage, self._timings)
        self._keep(response)
        self._writer.write(f"response.{response['status']}", response=response)
        return self._writer.take()

    def fail(self, error: ServiceError) -> bytes:
        """The events that end a stream that failed: why, and what there was of the response."""
        output = self._output if self._open is None else [*self._output, self._open.so_far()]
        said = error_body(error)["error"]
        cause = {name: said[name] for name in ("code", "message", "param")}
        self._writer.write("error", **cause)
        self._writer.write("response.failed", response=answers.fail(self._response, output, error))
        return self._writer.take()

    def _begin(self) -> None:
        self._has_begun = True
        self._writer.write("response.created", response=self._response)
        self._writer.write("response.in_progress", response=self._response)

    def _add(self, choice: chat_pb2.ChunkChoice) -> None:
        delta = choice.delta
        for call in delta.tool_calls:
            if not call.id and isinstance(self._open, OpenCall):
                # Before all else in the chunk, which may hold what several steps brought.
                self._open.add(call.function.arguments)
        if delta.reasoning_content:
            self._reasoning().add(delta.reasoning_content)
        if delta.content or choice.HasField("logprobs"):
            self._message().add_text(delta.content, choice.logprobs)
        if delta.refusal:
            self._message().add_refusal(delta.refusal)
        for call in delta.tool_calls:
            if call.id:
                self._call(call).add(call.function.arguments)
        self._finish_reason = choice.finish_reason or self._finish_reason

    def _reasoning(self) -> OpenReasoning:
        if not isinstance(self._open, OpenReasoning):
            self._close()
            self._open = OpenReasoning(self._writer, len(self._output))
        return self._open

    def _message(self) -> OpenMessage:
        if not isinstance(self._open, OpenMessage):
            self._close()
            self._open = OpenMessage(self._writer, len(self._output))
        return self._open

    def _call(self, first: chat_pb2.ToolCallDelta) -> OpenCall:
        self._close()
        self._open = call = OpenCall(self._writer, len(self._output), first)
        return call

    def _close(self) -> None:
        """End the open item: another one begins."""
        if self._open is not None:
            self._output.append(self._open.close("completed"))
            self._open = None
