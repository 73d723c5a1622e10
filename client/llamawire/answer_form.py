"""What an answer is to look like: functions that may be called, a JSON Schema, a grammar.

tools=[function("weather", "The weather in a city.", Place)]
tool_choice=call("weather")
response_format=json_schema(Person)
response_format=grammar("[0-9]{4}", "regex")
"""

from __future__ import annotations

import json
from typing import Any, Literal

from llamawire.schema import schema_of
from llamawire.v1 import chat_pb2

_SYNTAXES = {
    "gbnf": chat_pb2.GrammarFormat.SYNTAX_GBNF,
    "lark": chat_pb2.GrammarFormat.SYNTAX_LARK,
    "regex": chat_pb2.GrammarFormat.SYNTAX_REGEX,
}


def function(
    name: str, description: str = "", parameters: Any = None, *, strict: bool | None = None
) -> chat_pb2.Tool:
    """A function that the model may call.

    parameters: the JSON Schema of its arguments, as a mapping or JSON text, or a type that `schema_of` takes. None:
    there are none.
    """
    definition = chat_pb2.FunctionDefinition(
        name=name,
        description=description,
        parameters="" if parameters is None else _schema_text(parameters),
        strict=strict,
    )
    return chat_pb2.Tool(function=definition)


def call(name: str) -> chat_pb2.ToolChoice:
    """The choice of this function: it must be called."""
    return chat_pb2.ToolChoice(function_name=name)


def json_schema(
    schema: Any, name: str = "", *, description: str = "", strict: bool | None = None
) -> chat_pb2.ResponseFormat:
    """JSON that follows a schema.

    schema: a mapping or JSON text, or a type that `schema_of` takes. name: for the model and for logs; a type's own
    where it is left out.
    """
    return chat_pb2.ResponseFormat(
        json_schema=chat_pb2.JsonSchemaFormat(
            name=name or getattr(schema, "__name__", "answer"),
            description=description,
            schema=_schema_text(schema),
            strict=strict,
        )
    )


def grammar(text: str, syntax: Literal["gbnf", "lark", "regex"] = "gbnf") -> chat_pb2.ResponseFormat:
    """Text that a grammar allows, from its first character to its last. Raises ValueError for an unknown syntax."""
    if syntax not in _SYNTAXES:
        raise ValueError(f"{syntax!r} is not a syntax; it is one of {', '.join(_SYNTAXES)}")
    return chat_pb2.ResponseFormat(grammar=chat_pb2.GrammarFormat(syntax=_SYNTAXES[syntax], grammar=text))


def _schema_text(schema: Any) -> str:
    if isinstance(schema, str):
        return schema
    return json.dumps(schema_of(schema), ensure_ascii=False, allow_nan=False)
