"""Prompts that come back as the beginning of what is said."""

from __future__ import annotations

from collections.abc import Iterable

from llamawire_server.engine.sequence import Sequence
from llamawire_server.worker.child.prompts import Vocabulary
from llamawire_server.worker.child.reader import with_names
from llamawire_server.worker.messages import Echo, RawPrompt


class PromptEcho:
    """The prompt of a request, for each of its choices to begin with."""

    def __init__(self, prompt: RawPrompt, sequences: Iterable[Sequence], vocabulary: Vocabulary) -> None:
        """sequences: the request's choices. Nothing has come of any yet."""
        self._prompt = prompt
        self._silent = set(sequences)
        self._vocabulary = vocabulary
        self._echo: Echo | None = None

    def take(self, sequence: Sequence) -> Echo | None:
        """What a choice begins with, when the first of it has come; None where more of it has."""
        if sequence not in self._silent:
            return None
        self._silent.remove(sequence)
        if self._echo is None:
            self._echo = self._make(sequence)
        return self._echo

    def _make(self, sequence: Sequence) -> Echo:
        tokens = sequence.tokens[: sequence.num_prompt_tokens]
        text = self._prompt.text
        if self._prompt.tokens is not None:
            text = b"".join(map(self._vocabulary.named_piece, tokens)).decode("utf-8", "replace")
        scores = sequence.prompt_scores
        if scores is None:
            return Echo(text)
        logprobs = [with_names(found, self._vocabulary) for found in scores.logprobs]
        return Echo(text, self._vocabulary.named_piece(tokens[0]), logprobs)
