"""A streamed message as named events, in the order in which Anthropic's clients expect them."""

from __future__ import annotations

from llamawire.v1 import chat_pb2, usage_pb2
from llamawire_server.errors import ServiceError
from llamawire_server.shim.http.event_text import named_event
from llamawire_server.shim.http.response_types import Json
from llamawire_server.shim.messages import answers
from llamawire_server.shim.messages.dialect import AnthropicDialect


class MessageEvents:
    """Writes the events of one stream: a block opens, gets deltas, and stops before the next one opens."""

    def __init__(self, model: str, request_id: str, *, shows_thinking: bool) -> None:
        """model: as the request has it. shows_thinking: whether what is reasoned is to be sent."""
        self._model = model
        self._request_id = request_id
        self._shows_thinking = shows_thinking
        self._written: list[bytes] = []
        self._has_begun = False
        self._num_blocks = 0
        self._open = ""  # the type of the block that is
        self._finish_reason = chat_pb2.FINISH_REASON_UNSPECIFIED
        self._matched_stop = ""
        self._usage = usage_pb2.Usage()

    def write(self, chunk: chat_pb2.ChatCompletionChunk) -> bytes:
        """The events of one chunk."""
        if chunk.HasField("usage"):
            self._usage = chunk.usage
        if not self._has_begun:
            self._begin(chunk.model)
        for choice in chunk.choices:
            self._add(choice)
        return self._take()

    def keep_alive(self) -> bytes:
        """An event without news."""
        if not self._has_begun:
            self._begin(self._model)
        self._write("ping")
        return self._take()

    def end(self) -> bytes:
        """What ends the open block, the message and the stream."""
        self._close()
        ending = answers.ending(self._finish_reason, self._matched_stop)
        self._write("message_delta", delta=ending, usage=answers.usage(self._usage))
        self._write("message_stop")
        return self._take()

    def fail(self, error: ServiceError) -> bytes:
        """The last event of a stream that failed."""
        return named_event("error", AnthropicDialect().error(error, self._request_id))

    def _begin(self, model: str) -> None:
        self._has_begun = True
        self._write("message_start", message=answers.begun(model, self._usage))

    def _add(self, choice: chat_pb2.ChunkChoice) -> None:
        delta = choice.delta
        for call in delta.tool_calls:
            if not call.id and self._open == "tool_use":
                # Before all else in the chunk, which may hold what several steps brought.
                self._more_arguments(call.function.arguments)
        if delta.reasoning_content:
            self._open_as("thinking", answers.thinking("", ""))
            if self._shows_thinking:
                self._more({"type": "thinking_delta", "thinking": delta.reasoning_content})
        if text := delta.content or delta.refusal:
            self._open_as("text", answers.text(""))
            self._more({"type": "text_delta", "text": text})
        for call in delta.tool_calls:
            if call.id:
                self._close()
                self._open_as("tool_use", answers.tool_use(call.id, call.function.name, {}))
                self._more_arguments(call.function.arguments)
        self._finish_reason = choice.finish_reason or self._finish_reason
        self._matched_stop = choice.matched_stop or self._matched_stop

    def _more_arguments(self, arguments: str) -> None:
        if arguments:
            self._more({"type": "input_json_delta", "partial_json": arguments})

    def _more(self, delta: Json) -> None:
        self._write("content_block_delta", index=self._num_blocks - 1, delta=delta)

    def _open_as(self, kind: str, block: Json) -> None:
        """Go on with a block of this type."""
        if self._open == kind:
            return
        self._close()
        self._open = kind
        self._write("content_block_start", index=self._num_blocks, content_block=block)
        self._num_blocks += 1

    def _close(self) -> None:
        if not self._open:
            return
        if self._open == "thinking":
            self._more({"type": "signature_delta", "signature": answers.SIGNATURE})
        self._open = ""
        self._write("content_block_stop", index=self._num_blocks - 1)

    def _write(self, event_type: str, **fields: object) -> None:
        self._written.append(named_event(event_type, {"type": event_type, **fields}))

    def _take(self) -> bytes:
        written = b"".join(self._written)
        self._written.clear()
        return written
