"""How likely tokens were."""

from __future__ import annotations

import msgspec


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True):
    """How likely a token of an answer was, and what else could have come in its place.

    Natural logarithms of the probabilities that the model computed: before penalties, bias, grammar and temperature.
    What can't be at all is minus infinity.
    """

    token: int
    logprob: float
    top: list[tuple[int, float]]
    """The likeliest tokens of the place, likeliest first and the lower of equals before the higher, each with its own
    logarithm: as many as were asked for, or the whole vocabulary where that is less."""
