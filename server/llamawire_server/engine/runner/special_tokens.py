"""Control tokens in grammars: a token of its own is no text, whatever its name looks like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

# What of a grammar in Lark's syntax is text, a comment or an expression, and not the name of a token.
_QUOTED = r'"(?:[^"\\\n]|\\.)*"|(?://|#)[^\n]*|/(?:[^/\\]|\\.)+/'
_NAMED_TOKEN = re.compile(rf"{_QUOTED}|(<[^<>\s]+>)")
# `<[12]>`, `<[^3-5,9]>`, `<[*]>`: tokens by their number already.
_BY_NUMBER = re.compile(r"<\[\^?[\d\-,*]+\]>")


def with_token_numbers(grammar: str, tokens: Mapping[str, int]) -> str:
    """The grammar, with its control tokens by number: `<|im_end|>`, and `<[INST]>` for one that is called `[INST]`.

    grammar: in Lark's syntax, or llguidance's list of grammars as JSON. tokens: the control tokens by name. Names
    that are not among them stay, for llguidance to complain of.
    """
    if not grammar.lstrip().startswith("{"):
        return _in_lark(grammar, tokens)
    listed: Any = json.loads(grammar)
    for entry in listed.get("grammars", []):
        if "lark_grammar" in entry:
            entry["lark_grammar"] = _in_lark(entry["lark_grammar"], tokens)
    return json.dumps(listed)


def _in_lark(grammar: str, tokens: Mapping[str, int]) -> str:
    def numbered(match: re.Match[str]) -> str:
        name = match[1]
        if name is None or _BY_NUMBER.fullmatch(name):
            return match[0]
        number = tokens.get(name[1:-1] if name.startswith("<[") else name)
        return match[0] if number is None else f"<[{number}]>"

    return _NAMED_TOKEN.sub(numbered, grammar)
