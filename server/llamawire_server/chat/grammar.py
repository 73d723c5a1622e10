"""What an answer's text must be, as a grammar: JSON schemas, expressions and grammars of callers in one language.

That language is llguidance's dialect of Lark's. No tokenizer is needed here: what its tokens make of a grammar is the
engine's matter.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, Literal, NoReturn

import msgspec

from llamawire_server.chat.gbnf import translation as gbnf
from llamawire_server.chat.lark import check_lark
from llamawire_server.chat.lark_schemas import adapt_schemas
from llamawire_server.chat.schema.adaptation import adapt, as_written
from llamawire_server.chat.schema.document import Document
from llamawire_server.chat.schema.fault import find_fault
from llamawire_server.chat.schema.names import refuse_unspellable, spelling
from llamawire_server.grammar_errors import GrammarError, grammar_error
from llamawire_server.grammar_limits import MAX_CHARACTERS, PARSER_LIMITS

__all__ = ["Grammar", "GrammarError", "json_rule", "to_lark"]

# Between the parts of a value there is at most what pretty printing needs: a model that may write any amount of white
# space may write nothing else.
_OPTIONS = {"whitespace_pattern": r"[ \t]{1,2}|\r?\n[ \t]{0,40}"}

_LAYOUT = ("item_separator", "key_separator", "whitespace_flexible", "whitespace_pattern")


class Grammar(msgspec.Struct, frozen=True):
    """What the whole text of an answer must be."""

    kind: Literal["json_object", "json_schema", "gbnf", "lark", "regex"]
    text: str = ""
    """The schema as JSON, the grammar, the expression. A `json_object` has none: any object will do."""


@functools.lru_cache(maxsize=32)
def to_lark(grammar: Grammar) -> str:
    """A grammar whose rule `start` is all that the text may be.

    Raises GrammarError, with the place, for what can't be read, can't be enforced or is too large.
    """
    if len(grammar.text) > MAX_CHARACTERS:
        raise GrammarError(f"it has {len(grammar.text)} characters; at most {MAX_CHARACTERS} are taken")
    if grammar.kind == "json_object":
        return f"start: {json_rule({'type': 'object'})}\n"
    if grammar.kind == "json_schema":
        return f"start: {json_rule(_parsed(grammar.text))}\n"
    if grammar.kind == "gbnf":
        lark = gbnf.to_lark(grammar.text)
    elif grammar.kind == "regex":
        lark = _from_regex(grammar.text)
    else:
        check_lark(grammar.text)
        lark = adapt_schemas(grammar.text, _parsed_at, _rule_in_lark)
    try:
        check_lark(lark)
        if error := _fault(lark):
            raise error
    except GrammarError as error:
        # A place in a grammar that was made of another one means nothing to whoever wrote that.
        raise error if grammar.kind == "lark" else GrammarError(str(error)) from None
    return lark


def json_rule(schema: Any, layout: Mapping[str, Any] = _OPTIONS) -> str:
    """What stands in a rule of a grammar for a value that is valid by a schema, as JSON.

    schema: as json.loads gives it; is not changed. layout: the compiler's options for what is between the parts of a
    value. Raises GrammarError, with a JSON pointer to what can't be enforced.
    """
    _check_text(schema)
    copied = json.loads(json.dumps(schema))
    adapt(Document(copied))
    if copied is False:
        raise GrammarError("no value is valid by the schema false")
    root: dict[str, Any] = {} if copied is True else copied
    root.pop("x-guidance", None)  # the compiler's own options
    refuse_unspellable(root)
    if error := _fault_of_schema(root):
        place = find_fault(root, lambda part: _fault_of_schema(part) is None)
        raise GrammarError(str(error), as_written(schema, place).pointer)
    return _rule(root, layout)


def _rule(schema: dict[str, Any], layout: Mapping[str, Any] = _OPTIONS) -> str:
    return "%json " + json.dumps({"x-guidance": {**layout, **spelling(schema)}, **schema}, ensure_ascii=False)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise GrammarError(
            f"the schema is no JSON: {error.msg}", f"line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise GrammarError("the schema is nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise GrammarError(f"the schema is no JSON that can be read: {error}") from error


def _parsed_at(text: str, start: int) -> tuple[Any, int]:
    """The value at a place in a text, and where it ends."""
    return json.JSONDecoder(parse_float=_finite, parse_constant=_no_number).raw_decode(text, start)


def _rule_in_lark(schema: Any) -> str:
    """A schema in a caller's own grammar may say what stands between the parts of a value."""
    own = schema.get("x-guidance") if isinstance(schema, dict) else None
    if not isinstance(own, dict):
        return json_rule(schema)
    for option in own:
        if option not in _LAYOUT:
            raise GrammarError(f"this can't be set; {', '.join(_LAYOUT)} can", f"/x-guidance/{option}")
    return json_rule(schema, own)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON's")


def _check_text(schema: Any) -> None:
    """Raises GrammarError for what can't be written as JSON, or is too much of it."""
    try:
        size = len(json.dumps(schema, ensure_ascii=False, allow_nan=False).encode())
    except UnicodeEncodeError as error:
        raise GrammarError("the schema has half a character: a surrogate by itself") from error
    except RecursionError as error:
        raise GrammarError("the schema is nested too deeply") from error
    except (ValueError, TypeError) as error:
        raise GrammarError(f"the schema can't be written as JSON: {error}") from error
    if size > 2 * MAX_CHARACTERS:
        raise GrammarError(f"the schema has {size} bytes; at most {2 * MAX_CHARACTERS} are taken")


def _from_regex(expression: str) -> str:
    from llguidance import regex_to_lark

    if not expression:
        return 'start: ""\n'
    return f"start: /{regex_to_lark(expression, 'd')}/\n"


def _fault_of_schema(schema: dict[str, Any]) -> GrammarError | None:
    return _fault(f"start: {_rule(schema)}\n")


def _fault(lark: str) -> GrammarError | None:
    """What the compiler has to say against a grammar; None where nothing."""
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(**PARSER_LIMITS, verbose_errors=False)
    try:
        is_error, messages = LLMatcher.validate_grammar_with_warnings(lark, limits=limits)
    except BaseException as error:
        # Rust's panics are no Exception, and have no name that can be imported.
        if type(error).__name__ != "PanicException":
            raise
        return GrammarError("the grammar compiler fails with it")
    return grammar_error(messages[0]) if is_error else None
