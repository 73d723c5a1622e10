"""Log probabilities of a completion's tokens, and where in its text each token begins."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from llamawire.v1 import completion_pb2
from llamawire_server.service.probabilities import finite, token_text, top_logprobs
from llamawire_server.worker.messages import Echo, Logprob


class TextOffsets:
    """Follows the tokens of one choice through its text."""

    def __init__(self) -> None:
        self._num_characters = 0

    def skip(self, text: str) -> None:
        """Pass what comes before the next token."""
        self._num_characters += len(text)

    def place(self, source: Logprob) -> completion_pb2.CompletionTokenLogprob:
        """The next token, whose text is part of the choice's."""
        offset = self._num_characters - _is_within(source.piece)
        self._num_characters += _num_begun(source.piece)
        return _token(source, offset)


def prompt_logprobs(echo: Echo) -> Iterator[completion_pb2.CompletionTokenLogprob]:
    """The tokens of an echoed prompt; nothing where they are not known.

    What the model was given may begin with more than the text has (a begin-of-sequence token, a space): such tokens
    begin where the text does.
    """
    if echo.first_token is None:
        return
    pieces = [echo.first_token, *(found.piece for found in echo.logprobs)]
    ends = list(accumulate(map(_num_begun, pieces)))
    num_added = max(0, ends[-1] - len(echo.text))
    begins = [max(0, begin - num_added) for begin in (0, *ends)]
    yield completion_pb2.CompletionTokenLogprob(
        token=token_text(echo.first_token), bytes=echo.first_token, text_offset=0
    )
    for found, begin in zip(echo.logprobs, begins[1:], strict=False):
        yield _token(found, max(0, begin - _is_within(found.piece)))


def _token(source: Logprob, offset: int) -> completion_pb2.CompletionTokenLogprob:
    return completion_pb2.CompletionTokenLogprob(
        token=token_text(source.piece),
        logprob=finite(source.logprob),
        bytes=source.piece,
        top_logprobs=top_logprobs(source),
        text_offset=max(0, offset),
    )


def _num_begun(piece: bytes) -> int:
    """How many characters begin in the bytes of UTF-8."""
    return sum(byte & 0xC0 != 0x80 for byte in piece)


def _is_within(piece: bytes) -> bool:
    """Whether the bytes begin within a character."""
    return bool(piece) and piece[0] & 0xC0 == 0x80
