"""Grammars for one model: compiled once, for as many sequences as want them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from llamawire_server.engine.runner.grammar_constraint import GrammarConstraint
from llamawire_server.engine.runner.special_tokens import with_token_numbers
from llamawire_server.grammar_errors import GrammarError, grammar_error
from llamawire_server.grammar_limits import PARSER_LIMITS

log = logging.getLogger(__name__)

_LIMITS = LLParserLimits(**PARSER_LIMITS, verbose_errors=False)


@dataclass(frozen=True)
class GrammarVocabulary:
    """The tokens that grammars are about."""

    tokenizer: LLTokenizer
    special_tokens: Mapping[str, int]
    """Those that are no text, by their names."""

    end_token_ids: frozenset[int]
    """Those that end an answer. None where the model has none; the tokenizer then has one of its own, beyond the
    vocabulary."""


class Grammars:
    """Compiles grammars, on any thread, and keeps those that were used last."""

    _MOST_KEPT = 32

    def __init__(self, read: Callable[[], GrammarVocabulary], *, num_threads: int = 0) -> None:
        """read: gives the vocabulary, on another thread, as it takes a while. num_threads: how many compute masks
        that take long while llama.cpp computes; 0: all are computed when they are asked for."""
        self._read = read
        self._reading: Future[GrammarVocabulary] | None = None
        self._compiled: dict[str, LLMatcher] = {}
        """The one used last comes last."""
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="masks") if num_threads else None

    def begin(self) -> None:
        """Read the vocabulary on another thread, so that nobody has to wait for it later."""
        if self._reading is None:
            self._reading = Future()
            # Whoever ends the process does not wait for it.
            threading.Thread(target=self._fulfil, args=(self._reading,), name="grammars", daemon=True).start()

    def compile(self, grammar: str) -> GrammarConstraint:
        """A sequence's constraint, at the grammar's beginning.

        grammar: in llguidance's dialect of Lark, or its list of grammars. Raises GrammarError, also where the model's
        vocabulary can't be used.
        """
        vocabulary = self._vocabulary()
        with self._lock:
            matcher = self._compiled.pop(grammar, None)
        if matcher is None:
            matcher = _compile(vocabulary, grammar)
        with self._lock:
            self._compiled[grammar] = matcher
            if len(self._compiled) > self._MOST_KEPT:
                del self._compiled[next(iter(self._compiled))]
        return GrammarConstraint(
            matcher, vocabulary.tokenizer.vocab_size, vocabulary.end_token_ids, self._pool
        )

    def close(self) -> None:
        """End the threads that compute masks."""
        if self._pool is not None:
            self._pool.shutdown()

    def _vocabulary(self) -> GrammarVocabulary:
        self.begin()
        assert self._reading is not None
        try:
            return self._reading.result()
        except ValueError as error:
            raise GrammarError(f"grammars are not possible with this model's vocabulary: {error}") from error

    def _fulfil(self, reading: Future[GrammarVocabulary]) -> None:
        try:
            reading.set_result(self._read())
        except Exception as error:
            log.exception("the vocabulary can't be used for grammars")
            reading.set_exception(ValueError(str(error)))


def _compile(vocabulary: GrammarVocabulary, grammar: str) -> LLMatcher:
    numbered = with_token_numbers(grammar, vocabulary.special_tokens)
    matcher = LLMatcher(vocabulary.tokenizer, numbered, log_level=0, limits=_LIMITS)
    _check(matcher)
    # What nothing can come of is seen here, before anything is generated. Copies have the use of what it found.
    matcher.compute_bitmask()
    _check(matcher)
    return matcher


def _check(matcher: LLMatcher) -> None:
    if matcher.is_error():
        raise grammar_error(matcher.get_error())
