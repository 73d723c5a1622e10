"""The keywords of JSON Schema: which can be enforced, and what their values may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llamawire_server.chat.schema.document import MAP_KEYWORDS
from llamawire_server.chat.schema.formats import PATTERNS

TYPES = frozenset({"null", "boolean", "object", "array", "number", "string", "integer"})

SCHEMA_KEYWORDS = frozenset({"additionalProperties", "additionalItems", "items"})
"""Those whose value is a schema."""

LIST_KEYWORDS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
"""Those whose value is a list of schemas."""

DEFINITIONS = ("$defs", "definitions")
"""Those whose schemas say nothing by themselves."""

UNSUPPORTED = frozenset(
    {
        "not",
        "if",
        "contains",
        "uniqueItems",
        "propertyNames",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "unevaluatedItems",
        "unevaluatedProperties",
        "$dynamicRef",
        "$recursiveRef",
    }
)
"""What a grammar can't hold an answer to."""

ANNOTATIONS = frozenset(
    {
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "$comment",
        "$vocabulary",
        "contentMediaType",
        "contentEncoding",
        "contentSchema",
    }
)
"""What says nothing of which values are valid."""

FORMATS = frozenset({"duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", *PATTERNS})
"""Those that are enforced."""

UNSUPPORTED_FORMATS = frozenset(
    {
        "idn-email",
        "idn-hostname",
        "uri-reference",
        "iri",
        "iri-reference",
        "uri-template",
        "regex",
    }
)
"""The standard's other ones. What the standard does not know is a remark: `int32`, `password`, `binary`, …"""


def problem(keyword: str, value: Any) -> str:
    """What is wrong with a keyword's value, empty where nothing is. Schemas in it are not looked at."""
    check = _CHECKS.get(keyword)
    return check(value) if check is not None else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> str:
    return "" if _is_number(value) else "it must be a number"


def _positive_number(value: Any) -> str:
    return "" if _is_number(value) and value > 0 else "it must be a number above 0"


def _limit(value: Any) -> str:
    # A truth value is what draft 4 has.
    return "" if _is_number(value) or isinstance(value, bool) else "it must be a number"


def _count(value: Any) -> str:
    if _is_number(value) and value >= 0 and value == int(value):
        return ""
    return "it must be a whole number of at least 0"


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "it must be a string"


def _truth(value: Any) -> str:
    return "" if isinstance(value, bool) else "it must be true or false"


def _schemas(value: Any) -> str:
    return "" if isinstance(value, list) and value else "it must be a list of at least one schema"


def _schemas_by_name(value: Any) -> str:
    return "" if isinstance(value, dict) else "it must be an object, with schemas as its values"


def _values(value: Any) -> str:
    return "" if isinstance(value, list) and value else "it must be a list of at least one value"


def _names(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return ""
    return "it must be a list of strings"


def _types(value: Any) -> str:
    names = value if isinstance(value, list) else [value]
    if not names:
        return "it must be a type, or a list of at least one"
    for name in names:
        if not isinstance(name, str) or name not in TYPES:
            return f"{_shortened(name)} is no type; there are {', '.join(sorted(TYPES))}"
    return ""


def _format(value: Any) -> str:
    if not isinstance(value, str):
        return "it must be a string"
    if value in UNSUPPORTED_FORMATS:
        return f"the format {value} can't be enforced; there are {', '.join(sorted(FORMATS))}"
    return ""


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


_CHECKS: Mapping[str, Callable[[Any], str]] = {
    "type": _types,
    "enum": _values,
    "required": _names,
    "pattern": _text,
    "format": _format,
    "$ref": _text,
    "$id": _text,
    "$anchor": _text,
    "$schema": _text,
    "multipleOf": _positive_number,
    "uniqueItems": _truth,
    **dict.fromkeys(("minimum", "maximum"), _number),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), _limit),
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _count
    ),
    **dict.fromkeys(LIST_KEYWORDS, _schemas),
    **dict.fromkeys(MAP_KEYWORDS, _schemas_by_name),
}
