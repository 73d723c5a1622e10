"""What a family of models' way of calling tools is to the rest of the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from llamawire_server.chat.schema.document import Place

Message = Mapping[str, Any]
"""A message as chat templates get it: `role`, `content`, and for calls `tool_calls`, `tool_call_id`, `name`."""


@dataclass(frozen=True)
class Tool:
    """A function that a model may call."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    """The JSON schema of its arguments; empty: any object."""
    is_strict: bool = False
    """Whether a schema that can't be enforced whole is an error rather than enforced as far as it goes."""


@dataclass(frozen=True)
class Named:
    """The choice of one function, which must be called."""

    name: str


class ParametersError(Exception):
    """A tool's parameters that can't be enforced in a family's way of writing calls; the text says why."""

    def __init__(self, tool_name: str, message: str, place: Place) -> None:
        """place: in the parameters' schema."""
        super().__init__(message)
        self.tool_name = tool_name
        self.place = place


Choice = Literal["none", "auto", "required"] | Named
"""Whether tools are called: never, as the model likes, at least one, this one."""

SpecialToken = Callable[[str], bool | int]
"""Whether a marker is one control token, and how a grammar names it: by its id, or with True by its name, in angle
brackets if that has none (`<[TOOL_CALLS]>`; llguidance by itself has such tokens by id only). False: it is text."""


class CallDelta(msgspec.Struct, frozen=True, array_like=True):
    """More of one call. Calls open in the order of their indices, from 0 on."""

    index: int
    id: str = ""
    """On a call's first delta only, as `name` is."""
    name: str = ""
    arguments: str = ""
    """More of the arguments' JSON text, as the model writes it."""


class CallParser(Protocol):
    """Takes an answer's text in any pieces, and tells calls from content. Where it is cut changes nothing."""

    def feed(self, text: str) -> list[str | CallDelta]:
        """Take more text. Gives what is decided: content as strings, and calls, in their order."""

    def flush(self) -> list[str | CallDelta]:
        """The rest: nothing more comes. What looked like a call and is none is content."""

    @property
    def num_calls(self) -> int:
        """How many calls were begun."""

    @property
    def is_open(self) -> bool:
        """Whether a call's arguments have begun and not ended; after `flush`: whether one was cut."""

    @property
    def ends_with_call(self) -> bool:
        """After `flush`: whether the last of the answer is a whole call, with nothing begun behind it."""


class ToolFormat(Protocol):
    """How a family of models is told of tools, calls them, and is made to call them."""

    @property
    def name(self) -> str:
        """The family's."""

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that may be control tokens in the vocabulary and that the parser must see as text."""

    def parser(
        self, tools: Sequence[Tool], next_id: Callable[[], str], *, is_either: bool = False
    ) -> CallParser:
        """For one answer. next_id: gives each call its id, `call_` and 24 letters or digits. is_either: whether the
        answer is content or calls, as its beginning says, so that content that looks like a call is none.

        A format whose templates want other ids makes them of these.
        """

    def lark(self, tools: Sequence[Tool], choice: Choice, parallel: bool, is_special: SpecialToken) -> str:
        """The whole answer after the reasoning as a grammar of llguidance's Lark, from `start` on.

        parallel: whether there may be several calls. Raises ValueError for a choice that names none of the tools, and
        ParametersError for parameters that can't be enforced.
        """

    def prepare(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What the template gets of a conversation and of the tools, the latter as OpenAI's API has them."""
