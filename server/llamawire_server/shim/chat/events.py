"""Chunks as server-sent events, in the form that OpenAI's own clients accept.

Clients differ in what they choke on. So: one choice and one kind of news an event; a choice opens with its
role and an empty text, in the order of the choices, and ends with an empty delta and its finish reason; a
waiting stream is kept alive with chunks that have no choices; usage comes last. An error is a plain event
whose first key is `error`.
"""

from __future__ import annotations

from llamawire.v1 import chat_pb2
from llamawire_server.shim.chat import answers
from llamawire_server.shim.http.chunk_events import NamedChunkEvents
from llamawire_server.shim.http.event_text import encode
from llamawire_server.shim.http.response_types import Json

_KIND = "chat.completion.chunk"


class ChunkEvents(NamedChunkEvents[chat_pb2.ChatCompletionChunk]):
    """Writes the events of one answer to a conversation."""

    def __init__(
        self, model: str, include_usage: bool, as_functions: bool, *, continuous_usage: bool = False
    ) -> None:
        """model: as the request has it. continuous_usage: whether every chunk has the usage by then."""
        unnamed = chat_pb2.ChatCompletionChunk()
        super().__init__(model, include_usage, continuous_usage, id_prefix="chatcmpl", unnamed=unnamed)
        self._as_functions = as_functions
        self._around_text: dict[int, tuple[bytes, bytes]] = {}
        self._num_opened = 0

    def _envelope_of(self, chunk: chat_pb2.ChatCompletionChunk) -> Json:
        return answers.envelope(chunk, _KIND)

    def _choices(self, chunk: chat_pb2.ChatCompletionChunk) -> bytes:
        return b"".join([self._choice(choice) for choice in chunk.choices])

    def _choice(self, choice: chat_pb2.ChunkChoice) -> bytes:
        if choice.index < self._num_opened and _is_text_alone(choice):
            return self._text(choice.index, choice.delta.content)
        events = []
        while self._num_opened <= choice.index:
            events.append(self._news(self._num_opened, {"role": "assistant", "content": ""}))
            self._num_opened += 1
        deltas = self._deltas(choice.delta)
        logprobs = answers.logprobs(choice.logprobs) if choice.HasField("logprobs") else None
        if logprobs is not None and not any("content" in delta for delta in deltas):
            deltas.append({})  # tokens whose text came before, or is none
        for delta in deltas:
            # They are the text's.
            found = logprobs if not delta or "content" in delta else None
            events.append(self._news(choice.index, delta, logprobs=found))
        if choice.finish_reason:
            reason = answers.finish_reason(choice.finish_reason, self._as_functions)
            events.append(self._news(choice.index, {}, finish_reason=reason, **answers.matched_stop(choice)))
        return b"".join(events)

    def _text(self, index: int, text: str) -> bytes:
        """The event of a choice's text, of which the text alone is encoded anew."""
        around = self._around_text.get(index)
        if around is None:
            before, _, after = self._news(index, {"content": ""}).rpartition(b'""')
            around = self._around_text[index] = before, after.removesuffix(self._suffix)
        before, after = around
        return b"%b%b%b%b" % (before, encode(text), after, self._suffix)

    def _deltas(self, delta: chat_pb2.Delta) -> list[Json]:
        deltas: list[Json] = []
        if delta.reasoning_content:
            deltas.append({"reasoning_content": delta.reasoning_content})
        if delta.content:
            deltas.append({"content": delta.content})
        if delta.refusal:
            deltas.append({"refusal": delta.refusal})
        if delta.tool_calls and self._as_functions:
            deltas += [
                {"function_call": _function(call.function)} for call in delta.tool_calls if call.index == 0
            ]
        elif delta.tool_calls:
            deltas.append({"tool_calls": [_tool_call(call) for call in delta.tool_calls]})
        return deltas

    def _news(
        self,
        index: int,
        delta: Json,
        *,
        logprobs: Json | None = None,
        finish_reason: str | None = None,
        **own: str,
    ) -> bytes:
        """The event of what is new in a choice. own: fields that llamawire adds to it."""
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._chunk([choice | own])


def _is_text_alone(choice: chat_pb2.ChunkChoice) -> bool:
    if choice.finish_reason or choice.HasField("logprobs"):
        return False
    delta = choice.delta
    return bool(delta.content and not delta.reasoning_content and not delta.refusal and not delta.tool_calls)


def _tool_call(call: chat_pb2.ToolCallDelta) -> Json:
    delta: Json = {"index": call.index}
    if call.id:
        delta["id"] = call.id
        delta["type"] = "function"
    return {**delta, "function": _function(call.function)}


def _function(call: chat_pb2.FunctionCallDelta) -> Json:
    return {"name": call.name, "arguments": call.arguments} if call.name else {"arguments": call.arguments}
