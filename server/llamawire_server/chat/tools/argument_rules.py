"""Rules of grammars for arguments that are written one by one between tags, with values as plain text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llamawire_server.chat.channels.lark import ANY, escape, one_of
from llamawire_server.chat.schema.document import Found, moved
from llamawire_server.chat.schema.validity import kinds_of_value
from llamawire_server.chat.tools.argument_tags import ArgumentTags
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.parameters import ASSERTIONS, Parameters
from llamawire_server.chat.tools.text_expressions import KEYWORDS, expressions
from llamawire_server.chat.tools.tool_format import ParametersError, Tool

_OF_ARGUMENTS = frozenset({"type", "properties", "required", "additionalProperties"})
_OTHER_NAME = r'/[^<>"\s]{1,64}/'
# Where the whole schema stands beside one that refers to it.
_WHOLE = "/$defs/parameters"
# Schemas may lead to each other.
_MOST_LEVELS = 16


@dataclass(frozen=True)
class _Literal:
    """One text."""

    text: str


@dataclass(frozen=True)
class _Text:
    """A text that each of the expressions matches; without any it is anything."""

    expressions: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Json:
    """A value by a schema that allows no strings, as JSON."""

    schema: dict[str, Any]


_Alternative = _Literal | _Text | _Json


class ArgumentRules:
    """Writes the arguments of tools, one tool after the other."""

    def __init__(self, lark: LarkWriter, tags: ArgumentTags) -> None:
        self._lark = lark
        self._tags = tags

    def write(self, number: int, tool: Tool) -> str:
        """The rule of a tool's arguments; gives its name. number: tells the tools apart.

        Properties come in the schema's order, and where it lists any and says nothing of others, there are no others.
        Raises ParametersError for what can't be enforced where arguments are written so.
        """
        return _ToolRules(self._lark, self._tags, number, tool).write()


class _ToolRules:
    def __init__(self, lark: LarkWriter, tags: ArgumentTags, number: int, tool: Tool) -> None:
        self._lark = lark
        self._tags = tags
        self._number = number
        self._tool = tool
        self._parameters = Parameters(tool.parameters)

    def write(self) -> str:
        node, place = self._parameters.object
        refused = sorted(node.keys() & ASSERTIONS - _OF_ARGUMENTS)
        if refused:
            message = f"{refused[0]} can't be enforced where a model writes its arguments one by one"
            raise self._error(message, Found(node, place), refused[0])
        listed: dict[str, Any] = node.get("properties", {})
        required = list(node.get("required", ()))
        is_open = "properties" not in node or not set(required) <= set(listed)
        others = node.get("additionalProperties", is_open)
        parts: list[str] = []
        for name in dict.fromkeys([*listed, *required]):
            is_listed = name in listed
            where = place / "properties" / name if is_listed else place / "additionalProperties"
            found = Found(listed[name] if is_listed else others, where)
            if found.value is not False:
                rule = self._argument(f"argument_{self._number}_{len(parts)}", name, found)
                parts.append(rule if name in required else f"{rule}?")
        if others is not False:
            # One that is listed has its own schema, and comes once.
            known = [name for name in (*listed, *required) if "\n" not in name]
            terms = [_OTHER_NAME, *([f"~/{one_of(known)}/"] if known else [])]
            self._lark.rule(f"OTHER_NAME_{self._number}", " & ".join(terms))
            rule = self._argument(
                f"other_{self._number}", None, Found(others, place / "additionalProperties")
            )
            parts.append(f"{rule}*")
        return self._lark.rule(f"arguments_{self._number}", " ".join(parts) or '""')

    def _argument(self, rule: str, name: str | None, found: Found) -> str:
        """The rule of an argument with its tags. name: None where it may be any."""
        tags = self._tags
        behind = (tags.name_end, tags.between, tags.value_begin, tags.margin)
        if name is None:
            head = f"{self._sequence(tags.name_begin)} OTHER_NAME_{self._number} {self._sequence(*behind)}"
        elif not name or name != name.strip() or any(char in name for char in '<>"\n'):
            raise self._error("a parameter of such a name can't be written in this model's calls", found)
        else:
            head = self._sequence(tags.name_begin, name, *behind)
        gap = f" {self._lark.literal(tags.gap)}" if tags.gap else ""
        return self._lark.rule(rule, f"{head} {self._value(rule, found)}{gap}")

    def _value(self, rule: str, found: Found) -> str:
        """Lark for a value and the tag behind it."""
        alternatives = self._alternatives(found, 0)
        if not alternatives:
            raise self._error("no value is valid", found)
        if _Text() in alternatives:
            return self._any_text()
        bodies = [
            self._body(f"{rule}_{number}", alternative) for number, alternative in enumerate(alternatives)
        ]
        return bodies[0] if len(bodies) == 1 else f"({' | '.join(bodies)})"

    def _body(self, rule: str, alternative: _Alternative) -> str:
        tags, lark = self._tags, self._lark
        if isinstance(alternative, _Literal):
            # One line break on either side is dropped, so that of the text needs another one.
            is_at_edge = tags.drops_lines and alternative.text.strip("\n") != alternative.text
            margin = tags.margin or ("\n" if is_at_edge else "")
            before = margin.removeprefix(tags.margin)
            return self._sequence(f"{before}{alternative.text}{margin}", tags.value_end)
        if isinstance(alternative, _Json):
            value = lark.json_value(alternative.schema, is_strict=self._tool.is_strict)
            return f"{lark.rule(rule, value)} {self._sequence(tags.margin, tags.value_end)}"
        terms = [f"/{expression}/" for expression in alternative.expressions]
        terms.append(f"~/{ANY}{escape(tags.value_end)}{ANY}/")
        if tags.drops_lines and not tags.margin:
            terms.append(rf"~/\n{ANY}|{ANY}\n/")
        text = lark.rule(rule.upper(), " & ".join(terms))
        if lark.is_token(tags.value_end):
            return f"{text} {lark.marker(tags.value_end)}"
        lark.rule(f"{rule}[lazy]", f"{text} {lark.literal(tags.margin + tags.value_end)}")
        return rule

    def _any_text(self) -> str:
        """Any text up to the tag that ends a value, and that."""
        end = self._tags.value_end
        if self._lark.is_token(end):
            text = self._lark.rule("UNCLOSED", f"/{ANY}/ & ~/{ANY}{escape(end)}{ANY}/")
            return f"{text} {self._lark.marker(end)}"
        self._lark.rule("closed[lazy]", f"{self._lark.text()} {self._lark.literal(end)}")
        return "closed"

    def _alternatives(self, found: Found, level: int) -> list[_Alternative]:
        """What a value may be. As soon as it may be any text it is: nothing tells what else from it."""
        schema = found.value
        kinds = self._parameters.kinds(schema)
        if not kinds:
            return []
        if "string" not in kinds:
            return [_Json(self._whole(found))]
        said = schema.keys() & ASSERTIONS if isinstance(schema, dict) else set()
        if not said:
            return [_Text()]
        if level > _MOST_LEVELS:
            raise self._error("its schemas lead to each other over too many levels", found)
        inner = self._inner(found, said)
        if inner is not None:
            return [each for one in inner for each in self._alternatives(one, level + 1)]
        if said <= {"enum", "const", "type"}:
            values = [schema["const"]] if "const" in schema else schema.get("enum")
            if values is not None:
                texts = [_text(value) for value in values if kinds_of_value(value) & kinds]
                if any(self._tags.value_end in text for text in texts):
                    raise self._error("a value with the tag that ends one can't be written", found)
                return [_Literal(text) for text in texts]
        others = kinds - {"string"}
        if others and not said & {"enum", "const", "allOf", "anyOf", "oneOf", "$ref"}:
            strings = {keyword: schema[keyword] for keyword in said & KEYWORDS}
            return [*self._text([strings], found), _Json({**self._whole(found), "type": sorted(others)})]
        every = [schema, *schema.get("allOf", ())]
        if (
            not others
            and said <= KEYWORDS | {"type", "allOf"}
            and all(_is_of_text(each) for each in every[1:])
        ):
            return self._text(every, found)
        raise self._error("it is too complex for an argument that this model writes as plain text", found)

    def _inner(self, found: Found, said: Iterable[str]) -> list[Found] | None:
        """The schemas that say all that there is to be said, any one of them; None where there is more."""
        schema, place = found
        said = set(said)
        if said == {"$ref"}:
            try:
                return [self._parameters.document.resolve(schema["$ref"], schema)]
            except LookupError as error:
                raise self._error(f"a reference leads nowhere: {error}", found, "$ref") from None
        if said == {"allOf"} and len(schema["allOf"]) == 1:
            return [Found(schema["allOf"][0], place / "allOf" / 0)]
        for keyword in ("anyOf", "oneOf"):
            if said == {keyword}:
                return [Found(each, place / keyword / number) for number, each in enumerate(schema[keyword])]
        return None

    def _text(self, schemas: Iterable[dict[str, Any]], found: Found) -> list[_Alternative]:
        """A string that is valid by all of these."""
        try:
            return [_Text(tuple(each for schema in schemas for each in expressions(schema)))]
        except ValueError as error:
            raise self._error(str(error), found) from None

    def _whole(self, found: Found) -> dict[str, Any]:
        """A schema that says by itself what this one says where it is."""
        schema, place = found
        own: dict[str, Any] = schema if isinstance(schema, dict) else {}
        if '"$ref"' not in json.dumps(own):
            return own
        root = {key: value for key, value in self._parameters.document.root.items() if key != "$id"}
        return {"$defs": {"parameters": moved(root, _WHOLE)}, "$ref": f"#{_WHOLE}{place.whole_pointer}"}

    def _sequence(self, *texts: str) -> str:
        """Lark for texts one behind the other, of which tags may be control tokens."""
        pieces: list[str] = []
        literal = ""
        for text in texts:
            if text not in self._tags.texts or not text or not self._lark.is_token(text):
                literal += text
                continue
            if literal:
                pieces.append(self._lark.literal(literal))
                literal = ""
            pieces.append(self._lark.marker(text))
        if literal:
            pieces.append(self._lark.literal(literal))
        return " ".join(pieces)

    def _error(self, message: str, found: Found, keyword: str | None = None) -> ParametersError:
        place = found.place if keyword is None else found.place / keyword
        return ParametersError(self._tool.name, message, place)


def _is_of_text(schema: Any) -> bool:
    """Whether a schema says nothing but what strings are like."""
    return isinstance(schema, dict) and schema.keys() & ASSERTIONS <= KEYWORDS | {"type"}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
