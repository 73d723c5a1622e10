"""How far a request had come, for the worker that goes on with it."""

from __future__ import annotations

import msgspec

from llamawire_server.engine.logprobs import TokenLogprobs


class ChoiceProgress(msgspec.Struct, frozen=True):
    """How far a choice had come in a worker that died."""

    tokens: list[int]
    """Those that were generated; what their text was has been sent."""

    finish_reason: str = ""
    """Set where the choice has ended."""

    held: list[TokenLogprobs] = []
    """As that of the last `TextDelta`."""


class Progress(msgspec.Struct, frozen=True):
    """How far a request had come in a worker that died. Times are those of time.monotonic, in seconds."""

    choices: list[ChoiceProgress]
    started: float | None
    """When its prompt began to be computed; None where it only waited in line."""

    first_token: float | None

    num_cached_tokens: int | None = None
    """Tokens of the prompt that its caller was told were found in the KV cache; None where it was told nothing."""
