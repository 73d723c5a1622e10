"""One choice's tokens, as they become what its caller gets."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Protocol

import msgspec

from llamawire_server.chat.pipeline import Delta, TextPipeline
from llamawire_server.chat.tools import CallDelta
from llamawire_server.engine.engine import Output
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.worker.child.text_logprobs import TextLogprobs
from llamawire_server.worker.messages import Logprob, TextDelta
from llamawire_server.worker.token_counts import ChoiceCounts, PromptCounts

# A character has four bytes at most in UTF-8, so that its end is no more tokens away.
_MOST_TOKENS_TO_WAIT = 3


class Pieces(Protocol):
    """The bytes of tokens."""

    def piece(self, token: int) -> bytes:
        """As they stand in text; control tokens have none, but for those that mark something."""
        ...

    def named_piece(self, token: int) -> bytes:
        """The same, but control tokens have their names."""
        ...


@dataclass(frozen=True)
class ReasoningBudget:
    """How long a choice may reason."""

    num_tokens: int
    end_tokens: list[int]
    """They end the reasoning and begin the answer."""


class Reader:
    """Follows a sequence's tokens; whatever they are read in, alone or several at once, the same comes of them.

    Where a choice has reasoned for as long as it may, the sequence is made to go on with what ends the reasoning, a
    few tokens later where that would cut a character.
    """

    def __init__(
        self,
        sequence: Sequence,
        pipeline: TextPipeline,
        pieces: Pieces,
        budget: ReasoningBudget | None = None,
        *,
        counts_tokens: bool = False,
    ) -> None:
        """The sequence has generated nothing, or `replay` is next. budget: None where it may reason for ever.
        counts_tokens: whether to say with what comes how many tokens there are by then."""
        self._sequence = sequence
        self._pipeline = pipeline
        self._pieces = pieces
        self._budget = budget
        self._logprobs = TextLogprobs(pipeline) if sequence.num_top_logprobs is not None else None
        self._is_ending_reasoning = False
        self._num_waited_tokens = 0
        """Tokens beyond the budget, since the reasoning is to end."""
        self._has_answered = False
        self._counts_tokens = counts_tokens
        self._has_told_prompt = False
        self.num_reasoning_tokens = 0
        """Those that came while it reasoned, the ones that ended it included."""
        self._keep_to_budget()

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string has come: the sequence is to end."""
        return self._pipeline.is_stopped

    @property
    def matched_stop(self) -> str:
        """The stop string that came; empty where none has."""
        return self._pipeline.matched_stop

    def replay(self, tokens: SequenceOf[int], held: SequenceOf[TokenLogprobs] = ()) -> None:
        """Take tokens in whose text was sent before; the sequence has them already, and its constraint takes them.

        held: of the last ones, whose text was held back, how likely they were, where that is to be told. Raises
        ConstraintError where the constraint does not take them.
        """
        self._has_told_prompt = bool(tokens)
        constraint = self._sequence.constraint if self._sequence.finish_reason is None else None
        num_told = len(tokens) - len(held)
        for number, token in enumerate(tokens):
            if constraint is not None:
                constraint.accept(token)
            del self._sequence.forced_tokens[:1]
            self._feed(token, held[number - num_told] if number >= num_told else None)

    def read(self, output: Output) -> TextDelta:
        """What new tokens bring, without a finish reason, and which of them are part of the answer: those up to where
        a stop string was found."""
        text, reasoning = "", ""
        calls: list[CallDelta] = []
        logprobs: list[TokenLogprobs] = []
        tokens = output.tokens
        for number, token in enumerate(output.text_tokens):
            delta, new_logprobs = self._feed(token, output.logprobs[number] if output.logprobs else None)
            text += delta.text
            reasoning += delta.reasoning
            calls += delta.calls
            logprobs += new_logprobs
            if self._pipeline.is_stopped:
                tokens = tokens[: number + 1]
                break
        else:
            if self._sequence.finish_reason is not None:
                delta = self._pipeline.flush()
                text += delta.text
                reasoning += delta.reasoning
                calls += delta.calls
                if self._logprobs is not None:
                    logprobs += self._logprobs.take(b"", None, delta)
        news = TextDelta(
            self._sequence.request_id,
            self._sequence.index,
            text,
            tokens,
            reasoning=reasoning,
            calls=calls,
            logprobs=[with_names(found, self._pieces) for found in logprobs],
            held=self._logprobs.held if self._logprobs is not None else [],
        )
        return self._with_counts(news, len(output.tokens) - len(tokens)) if self._counts_tokens else news

    def finish_reason(self, reason: FinishReason) -> str:
        """OpenAI's name for the end of an answer that was read to its end."""
        if reason is FinishReason.STOP:
            has_called = self._pipeline.has_calls and not self._pipeline.is_call_open
        else:
            # A limit right behind a call has cut nothing.
            has_called = self._pipeline.ends_with_call
        return "tool_calls" if has_called else reason.value

    def _with_counts(self, news: TextDelta, num_beyond: int) -> TextDelta:
        """What is new, with what there is by now. num_beyond: tokens at the sequence's end that are no part of it."""
        sequence = self._sequence
        prompt_counts = None
        if not self._has_told_prompt:
            self._has_told_prompt = True
            prompt_counts = PromptCounts(sequence.num_prompt_tokens, sequence.num_cached_tokens or 0)
        counts = ChoiceCounts(sequence.num_output_tokens - num_beyond, self.num_reasoning_tokens)
        return msgspec.structs.replace(news, counts=counts, prompt_counts=prompt_counts)

    def _feed(self, token: int, logprobs: TokenLogprobs | None) -> tuple[Delta, list[TokenLogprobs]]:
        piece = self._pieces.piece(token)
        self.num_reasoning_tokens += self._pipeline.is_reasoning
        delta = self._pipeline.feed(piece)
        self._has_answered = self._has_answered or bool(delta.text or delta.calls)
        if self._budget is not None:
            self._keep_to_budget()
        if self._logprobs is None:
            return delta, []
        return delta, self._logprobs.take(piece, logprobs, delta)

    def _keep_to_budget(self) -> None:
        if self._budget is None:
            return
        num_left = max(0, self._budget.num_tokens - self.num_reasoning_tokens)
        if not self._pipeline.is_reasoning:
            self._is_ending_reasoning = False
            self._num_waited_tokens = 0
            # It takes a token at least to begin to reason, which hardly any model does in the middle of its answer.
            self._sequence.num_free_tokens = None if self._has_answered and not num_left else num_left + 1
        elif num_left:
            self._sequence.num_free_tokens = num_left
        elif not self._is_ending_reasoning:
            end_tokens = self._end_tokens(self._budget)
            self._is_ending_reasoning = bool(end_tokens)
            self._num_waited_tokens += not end_tokens
            self._sequence.num_free_tokens = None if end_tokens else 1
            self._sequence.forced_tokens.extend(end_tokens)

    def _end_tokens(self, budget: ReasoningBudget) -> list[int]:
        """What ends the reasoning here, as far as it may: what begins a text may begin no call. Nothing in the middle
        of a character, which a constraint lets nothing but its bytes end."""
        constraint = self._sequence.constraint
        if constraint is None:
            # Bytes that never become one are no reason to go on.
            may_wait = self._num_waited_tokens < _MOST_TOKENS_TO_WAIT
            return [] if may_wait and self._pipeline.is_inside_character else budget.end_tokens
        return budget.end_tokens[: constraint.num_allowed(budget.end_tokens)]


def with_names(found: TokenLogprobs, pieces: Pieces) -> Logprob:
    """How likely a token was, by the tokens' bytes and names instead of their numbers."""
    name = pieces.named_piece
    return Logprob(found.logprob, name(found.token), [(value, name(token)) for token, value in found.top])
