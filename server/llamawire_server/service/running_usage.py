"""What a call has cost in tokens while its answer is still on its way."""

from __future__ import annotations

from collections.abc import Iterable

from llamawire.v1 import usage_pb2
from llamawire_server.service.cost import token_usage
from llamawire_server.worker.messages import Completed, Event, TextDelta
from llamawire_server.worker.token_counts import ChoiceCounts, PromptCounts


class RunningUsage:
    """Adds up the newest counts of a call's prompts and of their choices.

    A prompt counts from its first token on, and as it was told first: a worker that goes on after another one's death
    computes it again for nobody's account.
    """

    def __init__(self) -> None:
        self._prompts: dict[int, PromptCounts] = {}
        self._choices: dict[tuple[int, int], ChoiceCounts] = {}

    def note(self, events: Iterable[Event], prompt: int = 0) -> None:
        """Take over what the events of a prompt tell of counts. prompt: its number among the call's."""
        for event in events:
            if isinstance(event, TextDelta):
                if event.counts is not None:
                    self._choices[prompt, event.index] = event.counts
                if event.prompt_counts is not None:
                    self._prompts.setdefault(prompt, event.prompt_counts)
            elif isinstance(event, Completed):
                self._prompts[prompt] = PromptCounts(event.num_prompt_tokens, event.num_cached_tokens)

    def usage(self) -> usage_pb2.Usage:
        """The tokens so far. How many of them were guessed is known at the end."""
        choices = self._choices.values()
        reasoning = sum(counts.num_reasoning_tokens for counts in choices)
        return self._usage(
            sum(counts.num_tokens for counts in choices),
            usage_pb2.CompletionTokensDetails(reasoning_tokens=reasoning),
        )

    def prompt_usage(self) -> usage_pb2.Usage:
        """The prompts' tokens alone: those of an answer that has not begun."""
        return self._usage(0, usage_pb2.CompletionTokensDetails())

    def _usage(
        self, num_completion_tokens: int, details: usage_pb2.CompletionTokensDetails
    ) -> usage_pb2.Usage:
        prompts = self._prompts.values()
        return token_usage(
            sum(counts.num_tokens for counts in prompts),
            sum(counts.num_cached_tokens for counts in prompts),
            num_completion_tokens,
            details,
        )
