"""Grammars of calls, in llguidance's dialect of Lark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from llamawire_server.chat.schema.names import spelling
from llamawire_server.chat.tools.tool_format import SpecialToken, Tool

# What a schema says about properties that it does not list; where it says nothing, only listed ones are made.
_ABOUT_OTHERS = (
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependentSchemas",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "$ref",
    "$dynamicRef",
)


class LarkWriter:
    """Rules of one grammar, written one by one.

    No rule allows white space of any length, which small models would go on with for ever: JSON has the separators
    that it is given and nothing between. It is also what lets llguidance follow several schemas at once, as long
    as two calls begin alike.
    """

    def __init__(
        self, is_special: SpecialToken, *, item_separator: str = ", ", key_separator: str = ": "
    ) -> None:
        """The separators are regular expressions."""
        self._is_special = is_special
        self._separators = {"item_separator": item_separator, "key_separator": key_separator}
        self._rules: dict[str, str] = {}

    def rule(self, name: str, body: str) -> str:
        """Add a rule; gives its name."""
        self._rules[name] = body
        return name

    def either(self, name: str, bodies: Iterable[str]) -> str:
        """Add a rule that is one of the bodies; gives its name."""
        return self.rule(name, " | ".join(bodies))

    def is_token(self, marker: str) -> bool:
        """Whether a marker is a control token."""
        return self._is_special(marker) is not False

    def literal(self, text: str) -> str:
        """Exactly this text."""
        return json.dumps(text, ensure_ascii=False)

    def marker(self, marker: str) -> str:
        """A marker: a control token, or its text."""
        special = self._is_special(marker)
        if special is False:
            return self.literal(marker)
        if special is not True:
            return f"<[{special}]>"
        return marker if marker.startswith("<") and marker.endswith(">") else f"<{marker}>"

    def text(self) -> str:
        """Any text, which no control token is a part of."""
        return self.rule("TEXT", r"/(.|\n)*/")

    def opened(self, openings: Mapping[str, str], text: str) -> list[str]:
        """Calls behind any of the openings, each with what follows it. text: the rule of what may come before.

        A parser sees no difference between a control token and its letters, so the grammar takes both. In letters it
        is a lazy lexeme: complete, it wins over a text that may be anything.
        """
        bodies: list[str] = []
        for number, (opening, calls) in enumerate(openings.items()):
            self.rule(f"opening_{number}[lazy]", f"{text} {self.literal(opening)}")
            bodies.append(f"opening_{number} {calls}")
            if self.is_token(opening):
                bodies.append(f"{text} {self.marker(opening)} {calls}")
        return bodies

    def answer(self, openings: Mapping[str, str], *, is_required: bool) -> None:
        """The rule `start`: calls behind an opening; where they aren't required any text before it, or instead.

        openings: all that the family's parser takes for one, with Lark for what follows; the first one is the usual
        one, and begins what is required.
        """
        if is_required:
            opening, calls = next(iter(openings.items()))
            self.rule("start", f"{self.marker(opening)} {calls}")
        else:
            text = self.text()
            self.either("start", [text, *self.opened(openings, text)])

    def arguments(self, number: int, tool: Tool) -> str:
        """A tool's arguments as JSON. number: tells the tools apart."""
        return self.rule(f"arguments_{number}", self.json_value(_schema(tool), is_strict=tool.is_strict))

    def json_value(self, schema: Mapping[str, Any], *, is_strict: bool) -> str:
        """A value that is valid by a schema, as JSON. is_strict: as that of `Tool`."""
        own = schema.get("x-guidance")
        options = {
            "lenient": not is_strict,
            **(own if isinstance(own, dict) else {}),
            **spelling(schema),
            **self._separators,
            "whitespace_flexible": False,
            "whitespace_pattern": None,
        }
        return f"%json {json.dumps({**schema, 'x-guidance': options})}"

    def call_object(self, number: int, tool: Tool, *, key: str = "arguments", closing: str = '"}"') -> str:
        """`{"name": …, "arguments": …}`. key: what the arguments are called. closing: Lark for the object's end."""
        beginning = f'{{"name": {json.dumps(tool.name)}, "{key}": '
        return f"{self.literal(beginning)} {self.arguments(number, tool)} {closing}"

    def __str__(self) -> str:
        return "".join(f"{name}: {body}\n" for name, body in self._rules.items())


def _schema(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's arguments: an object, closed where nothing is said of what is not listed."""
    schema = {**tool.parameters, "type": "object"}
    listed = schema.get("properties")
    required = schema.get("required", [])
    if (
        isinstance(listed, dict)
        and isinstance(required, list)
        and all(name in listed for name in required)
        and not any(key in schema for key in _ABOUT_OTHERS)
    ):
        schema["additionalProperties"] = False
    return schema
