"""How many tokens a request has come to while it is on its way."""

from __future__ import annotations

import msgspec


class PromptCounts(msgspec.Struct, frozen=True, array_like=True):
    """A request's prompt."""

    num_tokens: int
    num_cached_tokens: int
    """Those that were found in the KV cache."""


class ChoiceCounts(msgspec.Struct, frozen=True, array_like=True):
    """What was generated of a choice, from its beginning on."""

    num_tokens: int
    """The token that ended it included."""
    num_reasoning_tokens: int
