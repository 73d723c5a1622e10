"""Schemas that would take the compiler too deep, which would end the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llamawire_server.chat.schema.adaptation import adapt
from llamawire_server.chat.schema.document import Document
from llamawire_server.grammar_errors import GrammarError


def ref(number: int) -> dict[str, Any]:
    return {"$ref": f"#/$defs/d{number}"}


def nested(schema: Any, levels: int) -> Any:
    for _ in range(levels):
        schema = {"anyOf": [schema, {"type": "null"}]}
    return schema


def chain(length: int, link: Callable[[int], Any]) -> dict[str, Any]:
    definitions = {f"d{number}": link(number + 1) for number in range(length)}
    return {"$defs": {**definitions, f"d{length}": {"type": "null"}}, **ref(0)}


def is_taken(schema: Any) -> bool:
    try:
        adapt(Document(schema))
    except GrammarError:
        return False
    return True


@pytest.mark.parametrize(
    ("link", "longest"),
    [
        (ref, 398),
        (lambda number: {"type": "array", "items": ref(number)}, 199),
        (lambda number: {"type": "object", "properties": {"a": ref(number)}}, 199),
        (lambda number: nested(ref(number), 30), 12),
    ],
)
def test_chains_of_references_have_an_end(link: Callable[[int], Any], longest: int) -> None:
    assert is_taken(chain(longest, link))
    assert not is_taken(chain(longest + 1, link))


def test_schemas_that_lead_to_each_other_count_together() -> None:
    def ring(length: int) -> dict[str, Any]:
        definitions = {
            f"d{number}": {"properties": {"next": ref((number + 1) % length), "other": ref(number // 2)}}
            for number in range(length)
        }
        return {"$defs": definitions, **ref(0)}

    assert is_taken(ring(190))
    assert not is_taken(ring(210))


def test_many_schemas_side_by_side_are_no_depth() -> None:
    definitions: dict[str, Any] = {
        f"d{number}": {"type": "array", "items": {"$ref": "#/$defs/leaf"}} for number in range(2000)
    }
    definitions["leaf"] = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/leaf2"}]}
    definitions["leaf2"] = {"type": "array", "items": {"$ref": "#/$defs/leaf"}}
    members = {f"m{number}": ref(number) for number in range(2000)}
    assert is_taken({"$defs": definitions, "properties": members})


def test_what_nobody_refers_to_does_not_count() -> None:
    whole = chain(300, lambda number: {"type": "array", "items": ref(number)})
    assert not is_taken(whole)
    assert is_taken({"$defs": whole["$defs"], "type": "null"})


def test_the_place_is_one_of_the_chain() -> None:
    with pytest.raises(GrammarError, match="levels") as caught:
        adapt(Document(chain(1000, ref)))
    assert caught.value.place.startswith("/$defs/d")
