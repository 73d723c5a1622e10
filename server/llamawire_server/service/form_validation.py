"""What is wrong with what a request says of its answer's form: tools, their choice, a format, log probabilities."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import msgspec

from llamawire.v1 import chat_pb2
from llamawire_server.errors import FieldViolation
from llamawire_server.grammar_limits import MAX_CHARACTERS

MAX_TOOLS = 128
# What is in a request is looked at while everybody waits, and a grammar takes the worker time.
MAX_TOOLS_BYTES = 128 * 1024
MAX_SCHEMA_DEPTH = 128
MAX_DESCRIPTION_BYTES = 64 * 1024
FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

Violations = Iterable[FieldViolation]


def tool_violations(request: chat_pb2.ChatCompletionRequest) -> Violations:
    """What is wrong with the tools and their choice, which shape the prompt too."""
    yield from _tools(request)
    yield from _tool_choice(request)


def form_violations(request: chat_pb2.ChatCompletionRequest) -> Violations:
    """What is wrong with what else is said of the answer's form."""
    yield from format_violations(request.response_format)
    choice = request.tool_choice
    requires_call = choice.mode == chat_pb2.ToolChoice.MODE_REQUIRED or bool(choice.function_name)
    kind = request.response_format.WhichOneof("format")
    if kind not in (None, "text") and requires_call:
        yield FieldViolation(
            "response_format",
            f"can't be {kind} together with a tool_choice that requires a call: the answer is the call",
        )
    if request.HasField("top_logprobs") and not request.logprobs:
        yield FieldViolation("top_logprobs", "needs logprobs")


def _tools(request: chat_pb2.ChatCompletionRequest) -> Violations:
    if len(request.tools) > MAX_TOOLS:
        yield FieldViolation("tools", f"has {len(request.tools)} entries; at most {MAX_TOOLS} are allowed")
    names: set[str] = set()
    num_bytes = 0
    for index, tool in enumerate(request.tools[:MAX_TOOLS]):
        field, function = f"tools[{index}].function", tool.function
        if not FUNCTION_NAME.fullmatch(function.name):
            yield FieldViolation(f"{field}.name", "must be 1 to 64 letters, digits, '_' or '-'")
        elif function.name in names:
            yield FieldViolation(f"{field}.name", f"'{function.name}' is there twice")
        names.add(function.name)
        if len(function.description.encode()) > MAX_DESCRIPTION_BYTES:
            yield FieldViolation(f"{field}.description", f"is longer than {MAX_DESCRIPTION_BYTES} bytes")
        if function.parameters and (problem := _schema_problem(function.parameters, ("object", None))):
            yield FieldViolation(f"{field}.parameters", problem)
        num_bytes += len(function.parameters.encode())
    if num_bytes > MAX_TOOLS_BYTES:
        yield FieldViolation("tools", f"has parameters of more than {MAX_TOOLS_BYTES} bytes together")


def _tool_choice(request: chat_pb2.ChatCompletionRequest) -> Violations:
    choice = request.tool_choice
    if choice.mode not in chat_pb2.ToolChoice.Mode.values():
        yield FieldViolation("tool_choice.mode", f"is unknown: {choice.mode}")
    if choice.mode == chat_pb2.ToolChoice.MODE_REQUIRED and not request.tools:
        yield FieldViolation("tool_choice", "requires a call, and there are no tools")
    name = choice.function_name
    if name and all(tool.function.name != name for tool in request.tools[:MAX_TOOLS]):
        yield FieldViolation("tool_choice.function_name", f"no tool is named '{name[:64]}'")
    elif choice.WhichOneof("choice") == "function_name" and not name:
        yield FieldViolation("tool_choice.function_name", "is required")


def format_violations(wanted: chat_pb2.ResponseFormat) -> Violations:
    """What is wrong with what is said of the text's form."""
    kind = wanted.WhichOneof("format")
    if kind == "json_schema":
        schema = wanted.json_schema.schema
        problem = _schema_problem(schema) if schema else "is required"
        if problem:
            yield FieldViolation("response_format.json_schema.schema", problem)
    elif kind == "grammar":
        if wanted.grammar.syntax not in chat_pb2.GrammarFormat.Syntax.values():
            yield FieldViolation("response_format.grammar.syntax", f"is unknown: {wanted.grammar.syntax}")
        if not wanted.grammar.grammar:
            yield FieldViolation("response_format.grammar.grammar", "is required")
        elif len(wanted.grammar.grammar) > MAX_CHARACTERS:
            yield FieldViolation(
                "response_format.grammar.grammar", f"is longer than {MAX_CHARACTERS} characters"
            )


def _schema_problem(text: str, types: Sequence[object] = ()) -> str:
    """Why a text is no JSON Schema, as far as that shows from outside; empty where it may be one.

    types: what its own type may be; empty: anything.
    """
    if len(text) > MAX_CHARACTERS:
        return f"is longer than {MAX_CHARACTERS} characters"
    try:
        schema = json.loads(text, parse_float=_finite, parse_constant=_refuse_constant)
        if not isinstance(schema, dict):
            return "must be a JSON object"
        if not _is_shallow(schema, MAX_SCHEMA_DEPTH):
            return f"is nested more than {MAX_SCHEMA_DEPTH} levels deep"
        # What JSON can say and a message to the worker can't: numbers of more than 64 bits, half a surrogate pair.
        msgspec.msgpack.encode(schema)
        if types and schema.get("type") not in types:
            return "must be the schema of an object"
    except RecursionError:
        return f"is nested more than {MAX_SCHEMA_DEPTH} levels deep"
    except json.JSONDecodeError as error:
        return f"is no JSON: {error.msg}, at line {error.lineno}, column {error.colno}"
    except (ValueError, OverflowError) as error:
        return f"has a value that can't be used: {error}"
    return ""


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _is_shallow(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    entries = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(entry, depth - 1) for entry in entries)
