"""How likely the tokens of prompts were, from the batches that they are computed in."""

from __future__ import annotations

from collections.abc import Callable

from llamawire_server.engine.runner.batches import Piece
from llamawire_server.engine.runner.distribution import token_logprobs
from llamawire_server.engine.runner.logits import Logits


def score(batch: list[Piece], logits: Callable[[int], Logits]) -> None:
    """Note on the slices of a batch that was computed what is wanted of their prompts.

    logits: gives those of the batch's token with this number. Raises DecodeError where no token is possible.
    """
    at = 0
    for piece in batch:
        scores = piece.whole.sequence.prompt_scores
        if scores is not None:
            tokens = piece.whole.sequence.tokens
            piece.whole.logprobs += [
                token_logprobs(logits(at + place - piece.start), tokens[place + 1], scores.num_top)
                for place in piece.scored_places
            ]
        at += piece.stop - piece.start
