"""What of a schema takes the grammar compiler far longer than its length says.

It compiles while others wait, and some of what it does grows with the square of what it is given, or faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from llamawire_server.chat.schema.document import MAX_LEVELS, Found
from llamawire_server.grammar_errors import GrammarError

# The states of expressions that must all match one string multiply.
_MOST_EXPRESSIONS = 6
# Pairs of patterns are compared, in about 10 µs each.
_MOST_PATTERN_PAIRS = 4_096
# Each of `allOf` is merged with all before it.
_MOST_MERGED_PAIRS = 40_000
# Whether a number is a multiple is told by as many states. Those of merged schemas multiply.
_MOST_REMAINDERS = 20_000
# The least common multiple of merged schemas is found in 32 bits, from the product.
_MOST_PRODUCT = 2**32 - 1
# Of those that hold for one value, schemas are merged.
_MERGED = ("multipleOf", "allOf", "anyOf", "oneOf", "$ref")

_NO_MULTIPLES = "that many multiples, or multiples of that, can't be told"


class Expense:
    """Of one document, schema by schema."""

    def __init__(self) -> None:
        self._num_pattern_pairs = 0
        self._num_merged_pairs = 0
        self._divisors: set[int] = set()
        self._multiples: set[Decimal] = set()
        self._is_merged = False

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
                raise GrammarError(_NO_MULTIPLES, (place / "multipleOf").pointer)
            self._multiples.add(Decimal(repr(node["multipleOf"])))
        merged = [keyword for keyword in _MERGED if keyword in node]
        self._is_merged |= len(merged) > 1 or len(node.get("allOf", ())) > 1
        if merged and self._is_merged and len(self._multiples) > 1 and not _fit(self._multiples):
            raise GrammarError(_NO_MULTIPLES, (place / merged[0]).pointer)


def refuse_many_expressions(targets: Mapping[int, Any], schemas: Iterable[Found]) -> None:
    """Raises GrammarError for a schema by which one string must match too many expressions.

    targets: what schemas refer to, by their id().
    """
    counts: dict[int, int] = {}
    for found in schemas:
        if _num_expressions(targets, found.value, counts, 0) > _MOST_EXPRESSIONS:
            raise GrammarError(
                f"a string would have to match more than {_MOST_EXPRESSIONS} expressions", found.place.pointer
            )


def _num_expressions(targets: Mapping[int, Any], schema: Any, counts: dict[int, int], level: int) -> int:
    """How many expressions a string must match at most, by the schema and all that holds with it."""
    if not isinstance(schema, dict) or level > MAX_LEVELS:
        return 0
    known = counts.get(id(schema))
    if known is not None:
        return known
    counts[id(schema)] = 0  # what leads back to it adds nothing
    count = ("pattern" in schema) + ("format" in schema)
    every = [*schema.get("allOf", ()), targets.get(id(schema))]
    count += sum(_num_expressions(targets, each, counts, level + 1) for each in every)
    for keyword in ("anyOf", "oneOf"):
        each_count = (_num_expressions(targets, each, counts, level + 1) for each in schema.get(keyword, ()))
        count += max(each_count, default=0)
    counts[id(schema)] = count
    return count


def _divisor(number: Any) -> int:
    """The number's digits, as if the point were behind the last that is not 0."""
    return int("".join(map(str, Decimal(repr(number)).normalize().as_tuple().digits)))


def _fit(multiples: Iterable[Decimal]) -> bool:
    """Whether the product of the numbers, as whole ones of the smallest unit among them, is kept."""
    unit = min(
        Decimal(1), *(Decimal((0, (1,), int(each.normalize().as_tuple().exponent))) for each in multiples)
    )
    return math.prod(int(each / unit) for each in multiples) <= _MOST_PRODUCT
