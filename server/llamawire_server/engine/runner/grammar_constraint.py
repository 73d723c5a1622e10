"""A sequence's constraint that is a grammar."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from llguidance import LLMatcher

from llamawire_server.engine.constraint import ConstraintError, Mask

# Most masks take 5 to 100 µs, for which another thread would only be in llama.cpp's way: handing them over takes as
# long.
SLOW_MASK_SECONDS = 0.0003


class GrammarConstraint:
    """Where a sequence stands in a grammar. It is an `engine.constraint.Constraint`.

    Where masks take long, they are computed on another thread while llama.cpp computes. The matcher may then be ahead
    of the sequence: along a draft, to have the masks of all its places when the logits are there. What was not right
    is taken back.
    """

    def __init__(
        self,
        origin: LLMatcher,
        vocabulary_size: int,
        end_token_ids: frozenset[int],
        pool: ThreadPoolExecutor | None = None,
        slow_seconds: float = SLOW_MASK_SECONDS,
    ) -> None:
        """origin: at the grammar's beginning; it is copied. vocabulary_size: as the matcher's tokenizer has it.
        pool: where masks are computed ahead of time; None: when they are asked for, and so is one that comes after
        one that took less than `slow_seconds`."""
        self._origin = origin
        self._matcher = origin.deep_copy()
        self._num_words = (vocabulary_size + 31) // 32
        self._end_token_ids = end_token_ids
        self._pool = pool
        self._slow_seconds = slow_seconds
        self._mask_seconds = 0.0
        """What the last mask took."""
        self._tokens: list[int] = []
        """Those that have come."""
        self._ahead: deque[int] = deque()
        """Those that the matcher has beyond them."""
        self._masks: deque[Mask] = deque()
        """Of the places from the next one on."""
        self._work: Future[None] | None = None
        self._has_ended = False

    @property
    def num_tokens(self) -> int:
        return len(self._tokens)

    @property
    def is_complete(self) -> bool:
        self._wait()
        if self._has_ended:
            return True
        # A matcher that has failed says that it has stopped.
        return not self._end_token_ids and self._matcher.is_stopped() and not self._matcher.is_error()

    def prepare(self, draft: Sequence[int] = ()) -> None:
        self._wait()
        if self._pool is None or self._has_ended or self._mask_seconds < self._slow_seconds:
            return
        if draft or not self._masks:
            self._return()
            self._work = self._pool.submit(self._run_ahead, tuple(draft))

    def mask(self) -> Mask:
        self._wait()
        if not self._masks:
            self._return()
            self._masks.append(self._compute())
        return self._masks[0]

    def accept(self, token: int) -> None:
        self._wait()
        if token in self._end_token_ids:
            # Some matchers have stopped by now, and take nothing more; what was needed is known.
            self._return()
            self._has_ended = True
        elif self._ahead and self._ahead[0] == token:
            self._ahead.popleft()
        else:
            self._return()
            self._consume([token])
        self._tokens.append(token)
        if self._masks:
            self._masks.popleft()

    def num_allowed(self, tokens: Sequence[int]) -> int:
        ends = (number for number, token in enumerate(tokens) if token in self._end_token_ids)
        text = list(tokens[: next(ends, len(tokens))])
        if not text or not self._can_go_on():
            return 0
        return self._matcher.validate_tokens(text)

    def forced(self) -> list[int]:
        if not self._can_go_on():
            return []
        return [token for token in self._matcher.compute_ff_tokens() if token not in self._end_token_ids]

    def rewind(self, num_tokens: int) -> None:
        self._wait()
        if num_tokens > len(self._tokens):
            raise ConstraintError(f"the grammar knows {len(self._tokens)} of {num_tokens} tokens")
        if num_tokens == len(self._tokens):
            return
        self._return()
        taken_back = self._tokens[num_tokens:]
        del self._tokens[num_tokens:]
        self._masks.clear()
        if self._has_ended:
            self._has_ended = False
            taken_back.pop()
        self._roll_back(len(taken_back))

    def _can_go_on(self) -> bool:
        """Whether anything but an end token may come. The matcher is where the sequence is then."""
        self._wait()
        try:
            self._return()
        except ConstraintError:
            return False  # whoever asks for the mask is told
        return not self._has_ended and not self._matcher.is_stopped()

    def _wait(self) -> None:
        """Let whoever works on it end, or do without, if nobody has begun."""
        work, self._work = self._work, None
        if work is not None and not work.cancel():
            work.result()

    def _run_ahead(self, draft: Iterable[int]) -> None:
        """Compute the next place's mask, and those of the places after a draft's tokens, as far as they may come."""
        try:
            if not self._masks:
                self._masks.append(self._compute())
            for token in draft:
                if token in self._end_token_ids or not self._matcher.try_consume_tokens([token]):
                    break
                self._ahead.append(token)
                self._masks.append(self._compute())
        except ConstraintError:
            # Whether it comes to that place is open: who asks for its mask will see.
            pass

    def _compute(self) -> Mask:
        """The mask of the place where the matcher is."""
        mask = np.empty(self._num_words, np.uint32)
        started = time.perf_counter()
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        self._mask_seconds = time.perf_counter() - started
        self._check()
        return mask

    def _consume(self, tokens: list[int]) -> None:
        if not self._matcher.consume_tokens(tokens):
            self._check()
            raise ConstraintError("the grammar does not allow the token")

    def _return(self) -> None:
        """Bring the matcher back to where the sequence is."""
        num_ahead = len(self._ahead)
        self._ahead.clear()
        while len(self._masks) > 1:
            self._masks.pop()
        self._roll_back(num_ahead)

    def _roll_back(self, num_tokens: int) -> None:
        """Take back the matcher's last tokens; those that the sequence has are what is left."""
        if not self._matcher.is_error() and (not num_tokens or self._matcher.rollback(num_tokens)):
            return
        # Some grammars can't be rolled back, nor can what has failed on its way.
        self._matcher = self._origin.deep_copy()
        if text := [token for token in self._tokens if token not in self._end_token_ids]:
            self._consume(text)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ConstraintError(_first_line(self._matcher.get_error()))


def _first_line(message: str) -> str:
    """What it is about; what follows is the state of the parser."""
    return message.strip().split("\n", 1)[0] or "the grammar failed"
