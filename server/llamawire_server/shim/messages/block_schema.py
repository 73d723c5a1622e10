"""The blocks that Anthropic's messages consist of, as they are validated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from llamawire_server.shim.http.request_types import (
    List,
    NotSupported,
    RequestModel,
    supported,
    tag_of_json_type,
    tag_of_type_field,
)


class MessageTextBlock(RequestModel):
    """Plain text."""

    type: Literal["text"]
    text: str
    cache_control: dict[str, Any] | None = None
    """Accepted without effect: prompts are cached by their tokens."""
    citations: list[Any] | None = None
    """Accepted without effect."""
    parsed_output: Any = None
    """Accepted without effect: what Anthropic's client made of an answer."""


class MessageImageBytes(RequestModel):
    """A picture by value."""

    type: Literal["base64"]
    media_type: str
    """Its encoding, such as "image/png"."""
    data: str
    """The encoded picture, in Base64."""


class MessageImageUrl(RequestModel):
    """A picture by address."""

    type: Literal["url"]
    url: str


ImageSource = Annotated[
    Annotated[MessageImageBytes, Tag("|base64")] | Annotated[MessageImageUrl, Tag("|url")],
    Discriminator(tag_of_type_field),
]


class MessageImageBlock(RequestModel):
    """A picture; needs a model that sees."""

    type: Literal["image"]
    source: ImageSource
    cache_control: dict[str, Any] | None = None
    """Accepted without effect."""


class MessageThinkingBlock(RequestModel):
    """What an assistant's message reasoned before it spoke."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None
    """Accepted without effect."""


class MessageRedactedThinkingBlock(RequestModel):
    """Reasoning that only Anthropic can read: it is left out."""

    type: Literal["redacted_thinking"]
    data: str


class MessageCaller(RequestModel):
    """Who a tool was used by."""

    type: Annotated[Literal["direct"], supported("direct")]


class MessageToolUseBlock(RequestModel):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: str
    """Names the call, so that its result can answer it."""
    name: str
    """The tool's name."""
    input: dict[str, Any]
    """The arguments."""
    cache_control: dict[str, Any] | None = None
    """Accepted without effect."""
    caller: MessageCaller | None = None
    """Only the model itself can be it."""
    toolset_name: NotSupported = None
    """Not supported: anything but null is refused."""


ResultBlock = Annotated[
    Annotated[MessageTextBlock, Tag("|text")] | Annotated[MessageImageBlock, Tag("|image")],
    Discriminator(tag_of_type_field),
]
ResultContent = Annotated[
    Annotated[str, Tag("|string")] | Annotated[List[ResultBlock], Tag("|array")],
    Discriminator(tag_of_json_type),
]


class MessageToolResultBlock(RequestModel):
    """What a tool gave."""

    type: Literal["tool_result"]
    tool_use_id: str
    """Which call it answers."""
    content: ResultContent | None = None
    """The text, or a list of blocks. Absent: it gave nothing."""
    is_error: bool | None = None
    """Accepted without effect: the content tells."""
    toolset_name: NotSupported = None
    """Not supported: anything but null is refused."""
    cache_control: dict[str, Any] | None = None
    """Accepted without effect."""


Block = Annotated[
    Annotated[MessageTextBlock, Tag("|text")]
    | Annotated[MessageImageBlock, Tag("|image")]
    | Annotated[MessageThinkingBlock, Tag("|thinking")]
    | Annotated[MessageRedactedThinkingBlock, Tag("|redacted_thinking")]
    | Annotated[MessageToolUseBlock, Tag("|tool_use")]
    | Annotated[MessageToolResultBlock, Tag("|tool_result")],
    Discriminator(tag_of_type_field),
]
Content = Annotated[
    Annotated[str, Tag("|string")] | Annotated[List[Block], Tag("|array")],
    Discriminator(tag_of_json_type),
]
