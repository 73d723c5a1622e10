"""What a response is generated from: the items of `input`, as they are validated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Discriminator, Field, Tag

from llamawire_server.shim.http.request_types import (
    TAG_MARK,
    List,
    NotSupported,
    RequestModel,
    tag_of_json_type,
    tag_of_type_field,
)

ItemStatus = Literal["in_progress", "completed", "incomplete"]

# The second is what OpenAI's client calls the field in Python.
ASYNC = AliasChoices("async", "async_")


class ResponseInputText(RequestModel):
    """Text given to the model."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Accepted without effect."""


class ResponseInputImage(RequestModel):
    """A picture by address; needs a model that sees."""

    type: Literal["input_image"]
    image_url: str | None = None
    """Required, whatever OpenAI's clients leave out."""
    detail: str | None = None
    """How closely to look: "auto", "low" or "high"."""
    file_id: NotSupported = None
    """Not supported: anything but null is refused."""
    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Accepted without effect."""


class ResponseOutputText(RequestModel):
    """Text that the model answered."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    """Accepted without effect: part of answers, which callers send back."""
    logprobs: list[Any] | None = None
    """Accepted without effect, as `annotations`."""
    parsed: Any = None
    """Accepted without effect: what OpenAI's client made of an answer."""


class ResponseRefusal(RequestModel):
    """A refusal that the model answered with."""

    type: Literal["refusal"]
    refusal: str


MessagePart = Annotated[
    Annotated[ResponseInputText, Tag("|input_text")]
    | Annotated[ResponseInputImage, Tag("|input_image")]
    | Annotated[ResponseOutputText, Tag("|output_text")]
    | Annotated[ResponseRefusal, Tag("|refusal")],
    Discriminator(tag_of_type_field),
]
MessageContent = Annotated[
    Annotated[str, Tag("|string")] | Annotated[List[MessagePart], Tag("|array")],
    Discriminator(tag_of_json_type),
]
OutputPart = Annotated[
    Annotated[ResponseInputText, Tag("|input_text")] | Annotated[ResponseInputImage, Tag("|input_image")],
    Discriminator(tag_of_type_field),
]
OutputContent = Annotated[
    Annotated[str, Tag("|string")] | Annotated[List[OutputPart], Tag("|array")],
    Discriminator(tag_of_json_type),
]


class ResponseMessage(RequestModel):
    """One turn of a conversation: a caller's, or an answer that is sent back."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    """Who speaks."""
    content: MessageContent
    """The text, or a list of parts."""
    id: str | None = None
    """The item's id in answers; a new one where it has none."""
    status: ItemStatus | None = None
    """Accepted without effect."""
    phase: str | None = None
    """Accepted without effect."""


class ResponseFunctionCall(RequestModel):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str
    """Names the call, so that its output can answer it."""
    name: str
    """The function's name."""
    arguments: str
    """The arguments, as JSON."""
    id: str | None = None
    """The item's id in answers; a new one where it has none."""
    status: ItemStatus | None = None
    """"incomplete" where a limit cut it: then the arguments may be no whole JSON, and nothing has to answer it."""
    parsed_arguments: Any = None
    """Accepted without effect: what OpenAI's client made of the arguments."""
    caller: NotSupported = None
    """Not supported: anything but null is refused."""
    namespace: NotSupported = None
    """Not supported: anything but null is refused."""
    is_async: NotSupported = Field(default=None, validation_alias=ASYNC, serialization_alias="async")
    """Not supported: anything but null is refused."""


class ResponseFunctionCallOutput(RequestModel):
    """What a called function gave."""

    type: Literal["function_call_output"]
    call_id: str
    """Which call it answers."""
    output: OutputContent
    """The text, or a list of parts."""
    id: str | None = None
    """The item's id where the input is listed; a new one where it has none."""
    status: ItemStatus | None = None
    """Accepted without effect."""
    name: str | None = None
    """Accepted without effect: the call has it."""
    caller: NotSupported = None
    """Not supported: anything but null is refused."""
    namespace: NotSupported = None
    """Not supported: anything but null is refused."""


class ResponseSummaryText(RequestModel):
    """A summary of reasoning."""

    type: Literal["summary_text"]
    text: str


class ResponseReasoningText(RequestModel):
    """What the model reasoned."""

    type: Literal["reasoning_text"]
    text: str


class ResponseReasoning(RequestModel):
    """What the model reasoned before it spoke or called."""

    type: Literal["reasoning"]
    summary: List[ResponseSummaryText] | None = None
    """Taken where there is no `content`."""
    content: List[ResponseReasoningText] | None = None
    id: str | None = None
    """The item's id in answers; a new one where it has none."""
    status: ItemStatus | None = None
    """Accepted without effect."""
    encrypted_content: NotSupported = None
    """Not supported: anything but null is refused. What llamawire's models reason is in `content`."""


class ResponseItemReference(RequestModel):
    """Stands for an item of a kept response: of its output, or of its input."""

    type: Literal["item_reference"] | None = None
    id: str
    """The item's id. Items that callers named themselves are not found: two callers may use the same name."""


def tag_of_type_field_or_message(value: object) -> str | None:
    """Tells items apart by their `type`, which a message may lack."""
    if isinstance(value, dict) and value.get("type") is None and "role" in value:
        return f"{TAG_MARK}message"
    return tag_of_type_field(value)


ResponseItem = Annotated[
    Annotated[ResponseMessage, Tag("|message")]
    | Annotated[ResponseFunctionCall, Tag("|function_call")]
    | Annotated[ResponseFunctionCallOutput, Tag("|function_call_output")]
    | Annotated[ResponseReasoning, Tag("|reasoning")],
    Discriminator(tag_of_type_field_or_message),
]


_REFERENCE_FIELDS = {"type", "id"}


def tag_of_type_field_or_reference(value: object) -> str | None:
    """Tells items apart by their `type`, which a message may lack, and a reference, which has nothing but an id."""
    if (
        isinstance(value, dict)
        and value.get("type") is None
        and "id" in value
        and value.keys() <= _REFERENCE_FIELDS
    ):
        return f"{TAG_MARK}item_reference"
    return tag_of_type_field_or_message(value)


InputItem = Annotated[
    Annotated[ResponseMessage, Tag("|message")]
    | Annotated[ResponseFunctionCall, Tag("|function_call")]
    | Annotated[ResponseFunctionCallOutput, Tag("|function_call_output")]
    | Annotated[ResponseReasoning, Tag("|reasoning")]
    | Annotated[ResponseItemReference, Tag("|item_reference")],
    Discriminator(tag_of_type_field_or_reference),
]
