"""What of a schema takes the grammar compiler far longer than its length says.

It compiles while others wait, and some of what it does grows with the square of what it is given, or faster.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from llamawire_server.chat.schema.document import Found
from llamawire_server.grammar_errors import GrammarError

# Pairs of patterns are compared, in about 10 µs each.
_MOST_PATTERN_PAIRS = 4_096
# Each of `allOf` is merged with all before it.
_MOST_MERGED_PAIRS = 40_000
# Whether a number is a multiple is told by as many states. Those of merged schemas multiply.
_MOST_REMAINDERS = 20_000


class Expense:
    """Of one document, schema by schema."""

    def __init__(self) -> None:
        self._num_pattern_pairs = 0
        self._num_merged_pairs = 0
        self._divisors: set[int] = set()

    def add(self, found: Found) -> None:
        """Count a schema, whose keywords have values of their own. Raises GrammarError where it is too much."""
        node, place = found
        self._num_pattern_pairs += len(node.get("patternProperties", ())) ** 2
        if self._num_pattern_pairs > _MOST_PATTERN_PAIRS:
            raise GrammarError("there are too many patterns of names", (place / "patternProperties").pointer)
        self._num_merged_pairs += len(node.get("allOf", ())) ** 2
        if self._num_merged_pairs > _MOST_MERGED_PAIRS:
            raise GrammarError("there are too many schemas to merge", (place / "allOf").pointer)
        if "multipleOf" in node:
            self._divisors.add(_divisor(node["multipleOf"]))
            if math.prod(self._divisors) > _MOST_REMAINDERS:
                raise GrammarError(
                    "that many multiples, or multiples of that, can't be told", (place / "multipleOf").pointer
                )


def _divisor(number: Any) -> int:
    """The number's digits, as if the point were behind the last that is not 0."""
    return int("".join(map(str, Decimal(repr(number)).normalize().as_tuple().digits)))
