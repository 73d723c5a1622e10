"""How large a grammar may be, for whoever reads one and whoever compiles it.

A grammar comes from a caller and is compiled while others' answers are generated: what is far too large is refused
before it costs anybody much.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

MAX_CHARACTERS = 100_000
"""Of a grammar's text, or a schema's."""

PARSER_LIMITS: Mapping[str, Any] = MappingProxyType(
    {
        # Symbols of all rules together: 1,000 optional members, or 4,000 required ones, take about 0.1 s.
        "max_grammar_size": 16_000,
        # What the regular expressions may take to build, and what a single mask may: about 5 ms, and 15 ms.
        "initial_lexer_fuel": 250_000,
        "step_lexer_fuel": 200_000,
        # States of a parse, of one place and of one mask: what is more ambiguous is slow at every token.
        "max_items_in_row": 2_000,
        "step_max_items": 50_000,
        # A state takes one or two kilobytes, of a compiled grammar.
        "max_lexer_states": 50_000,
        # They are built as they are met.
        "precompute_large_lexemes": False,
    }
)
"""Of llguidance's `LLParserLimits`."""
