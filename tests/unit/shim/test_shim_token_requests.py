"""Texts and tokens that follow each other, to the contract's form and back to their places."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.shim.tokens.schema import TokenizeRequest
from llamawire_server.shim.tokens.translate import renaming, to_tokenize_request


@given(st.lists(st.text(max_size=2) | st.integers(-(2**31), 2**31 - 1), max_size=12))
def test_every_entry_is_in_a_part_and_called_by_its_place(content: list[str | int]) -> None:
    message = to_tokenize_request(TokenizeRequest(content=content))
    rename = renaming(message)
    found: list[str | int] = []
    names: list[str] = []
    for number, part in enumerate(message.parts):
        if part.HasField("text"):
            found.append(part.text)
            names.append(f"parts[{number}]")
        else:
            found += part.tokens.tokens
            names += [f"parts[{number}].tokens[{token}]" for token in range(len(part.tokens.tokens))]
    assert found == content
    assert [rename(name) for name in names] == [f"content[{place}]" for place in range(len(content))]
    kinds = [part.HasField("text") for part in message.parts]
    assert (False, False) not in pairwise(kinds), "tokens that follow each other are one part"
