"""What a request's logit_bias and penalties make of the logits."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from llamawire_server.engine.runner.logits import Logits
from llamawire_server.engine.sequence import SamplingParameters, Sequence

Number = TypeVar("Number", bound=np.generic)


class Penalties:
    """The tokens of one sequence whose logits change: those with a bias, and those that were there before.

    Order: logit_bias, repeat_penalty, frequency and presence penalties.
    Frequency and presence: mu[j] - count[j] * frequency - (count[j] > 0) * presence, over generated tokens (OpenAI's
    API reference). Repeat: l / r if l > 0 else l * r, over prompt and generated tokens (CTRL, arXiv:1909.05858).
    """

    def __init__(self, sequence: Sequence) -> None:
        self._parameters = parameters = sequence.sampling
        self._rows: dict[int, int] = {}
        self._tokens = np.zeros(16, np.intp)
        self._biases = np.zeros(16, np.float32)
        self._counts = np.zeros(16, np.float32)  # of generated tokens
        self._are_seen = np.zeros(16, np.bool_)
        for token, bias in parameters.logit_bias.items():
            row = self._row(token)
            self._biases[row] = bias
        self._looks_back = has_penalties(parameters)
        # Only repeat_penalty looks at the prompt; without it, a long one costs nothing.
        if parameters.repeat_penalty != 1:
            for token in set(sequence.tokens[: sequence.num_prompt_tokens]):
                row = self._row(token)
                self._are_seen[row] = True
        for token in sequence.tokens[sequence.num_prompt_tokens :]:
            self.count(token)

    def count(self, token: int) -> None:
        """Take in a token that was generated."""
        if not self._looks_back:
            return
        row = self._row(token)
        self._counts[row] += 1
        self._are_seen[row] = True

    def apply(self, logits: Logits) -> Logits:
        """Change the logits where they are; gives what `restore` needs."""
        parameters = self._parameters
        rows = slice(len(self._rows))
        tokens = self._tokens[rows]
        original = logits[tokens]
        values = original + self._biases[rows] if parameters.logit_bias else original
        if parameters.repeat_penalty != 1:
            penalised = np.where(
                values > 0, values / parameters.repeat_penalty, values * parameters.repeat_penalty
            )
            values = np.where(self._are_seen[rows], penalised, values)
        if parameters.frequency_penalty or parameters.presence_penalty:
            counts = self._counts[rows]
            values = values - (
                counts * parameters.frequency_penalty + (counts > 0) * parameters.presence_penalty
            )
        logits[tokens] = values
        return original

    def restore(self, logits: Logits, original: Logits) -> None:
        """Undo `apply`, with what it gave."""
        logits[self._tokens[: len(self._rows)]] = original

    def _row(self, token: int) -> int:
        """The token's place in the arrays, a new one if need be."""
        row = self._rows.setdefault(token, len(self._rows))
        if row == len(self._tokens):
            self._tokens, self._biases = _doubled(self._tokens), _doubled(self._biases)
            self._counts, self._are_seen = _doubled(self._counts), _doubled(self._are_seen)
        self._tokens[row] = token
        return row


def _doubled(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
    return np.concatenate([array, np.zeros_like(array)])


def has_penalties(parameters: SamplingParameters) -> bool:
    """Whether what was there before matters."""
    return bool(parameters.repeat_penalty != 1 or parameters.frequency_penalty or parameters.presence_penalty)
