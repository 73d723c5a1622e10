"""The events of a streamed response, as the OpenAPI description shows them."""

from __future__ import annotations

from typing import Literal

from llamawire_server.shim.chat.response_schema import TokenLogprob
from llamawire_server.shim.http.response_types import ResponseModel
from llamawire_server.shim.responses.item_schema import ResponseReasoningText, ResponseRefusal
from llamawire_server.shim.responses.response_schema import AnsweredItem, AnsweredText, ResponseObject


class ResponseEvent(ResponseModel):
    """What every event has."""

    sequence_number: int
    """Its place in the stream, from 0."""


class ResponseStateEvent(ResponseEvent):
    """The response as it stands: at the beginning twice, whenever nothing came for a while, and last."""

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    response: ResponseObject


class ResponseItemEvent(ResponseEvent):
    """An item that begins, and one that is whole."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: AnsweredItem


class ResponsePartEvent(ResponseEvent):
    """A part of an item that begins, and one that is whole."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    item_id: str
    output_index: int
    content_index: int
    part: AnsweredText | ResponseRefusal | ResponseReasoningText


class ResponseTextDeltaEvent(ResponseEvent):
    """More of a text."""

    type: Literal["response.output_text.delta"]
    item_id: str
    output_index: int
    content_index: int
    delta: str
    logprobs: list[TokenLogprob]


class ResponseTextDoneEvent(ResponseEvent):
    """A whole text."""

    type: Literal["response.output_text.done"]
    item_id: str
    output_index: int
    content_index: int
    text: str
    logprobs: list[TokenLogprob]


class ResponseDeltaEvent(ResponseEvent):
    """More of what was reasoned, or of a refusal."""

    type: Literal["response.reasoning_text.delta", "response.refusal.delta"]
    item_id: str
    output_index: int
    content_index: int
    delta: str


class ResponseReasoningDoneEvent(ResponseEvent):
    """All that was reasoned."""

    type: Literal["response.reasoning_text.done"]
    item_id: str
    output_index: int
    content_index: int
    text: str


class ResponseRefusalDoneEvent(ResponseEvent):
    """A whole refusal."""

    type: Literal["response.refusal.done"]
    item_id: str
    output_index: int
    content_index: int
    refusal: str


class ResponseArgumentsDeltaEvent(ResponseEvent):
    """More of a call's arguments, as JSON."""

    type: Literal["response.function_call_arguments.delta"]
    item_id: str
    output_index: int
    delta: str


class ResponseArgumentsDoneEvent(ResponseEvent):
    """All of a call's arguments, as JSON."""

    type: Literal["response.function_call_arguments.done"]
    item_id: str
    output_index: int
    name: str
    arguments: str


class ResponseErrorEvent(ResponseEvent):
    """Why the response failed. `response.failed` comes next, and last."""

    type: Literal["error"]
    code: str | None
    message: str
    """For people. Never decide on it."""
    param: str | None
    """The field at fault."""


EVENTS = (
    ResponseStateEvent,
    ResponseItemEvent,
    ResponsePartEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
    ResponseDeltaEvent,
    ResponseReasoningDoneEvent,
    ResponseRefusalDoneEvent,
    ResponseArgumentsDeltaEvent,
    ResponseArgumentsDoneEvent,
    ResponseErrorEvent,
)
