"""Log probabilities as the contract has them."""

from __future__ import annotations

from llamawire.v1 import chat_pb2
from llamawire_server.worker.messages import Logprob

# JSON has no infinity; OpenAI's API has this in its place.
MINUS_INFINITY = -9999.0


def top_logprobs(source: Logprob) -> list[chat_pb2.TopLogprob]:
    """What might have come in a token's place, likeliest first."""
    return [
        chat_pb2.TopLogprob(token=token_text(piece), logprob=finite(logprob), bytes=piece)
        for logprob, piece in source.top
    ]


def token_text(piece: bytes) -> str:
    """A token's text; bytes that are no UTF-8 by themselves become U+FFFD."""
    return piece.decode("utf-8", "replace")


def finite(logprob: float) -> float:
    """The logarithm, or what stands for minus infinity."""
    return max(logprob, MINUS_INFINITY)
