"""Choosing the next token of one sequence."""

from __future__ import annotations

from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from llamawire_server.engine.sequence import SamplingParameters, Sequence

Logits = npt.NDArray[np.float32]

_MASK_64 = 2**64 - 1

# llama.cpp takes the largest 32-bit seed for "choose one yourself".
_NUM_SEEDS = 2**32 - 1


class Sampler:
    """The sampling state of one sequence: its chain in llama.cpp, and its counts of tokens.

    Its random numbers depend on the seed, the choice and the token's place alone, so that a sequence goes on
    anywhere as it would have gone on here.

    Order: logit_bias, repeat_penalty, frequency and presence penalties, top_k, temperature, top_p, min_p. The
    temperature comes before top_p, as OpenAI's API and vLLM have it (llama.cpp's own default is the reverse).
    """

    def __init__(self, sequence: Sequence) -> None:
        self._parameters = parameters = sequence.sampling
        self._counts: dict[int, int] = {}
        # Only repeat_penalty looks at the prompt; without it, a long one costs nothing.
        self._num_counted_tokens = 0 if parameters.repeat_penalty != 1 else sequence.num_prompt_tokens
        self._is_greedy = parameters.temperature == 0 or parameters.top_k == 1 or parameters.top_p == 0
        self._adjusts = bool(
            parameters.logit_bias
            or parameters.repeat_penalty != 1
            or parameters.frequency_penalty
            or parameters.presence_penalty
        )
        self._seed = _mix(parameters.seed + sequence.index)
        self._chain = None if self._is_greedy else _chain(parameters)

    def close(self) -> None:
        """Free the chain. The sampler can't be used afterwards."""
        if self._chain is not None:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None

    def sample(self, sequence: Sequence, logits: Logits, context: Any, output: int) -> int:
        """The next token, from `logits`, which are those of the batch's token number `output`.

        logits: float32, (vocabulary size,), llama.cpp's own memory; it is the same after the call.
        """
        self._draw_anew(sequence.num_output_tokens)
        if not self._adjusts:
            return self._choose(logits, context, output)
        tokens, adjusted = self._adjust(sequence, logits)
        original = logits[tokens]
        logits[tokens] = adjusted
        try:
            return self._choose(logits, context, output)
        finally:
            # Siblings sample from the same row.
            logits[tokens] = original

    def _draw_anew(self, place: int) -> None:
        """Let the chain draw the random number of the sequence's output token number `place`."""
        if self._chain is None:
            return
        last = llama_cpp.llama_sampler_chain_n(self._chain) - 1
        llama_cpp.llama_sampler_free(llama_cpp.llama_sampler_chain_remove(self._chain, last))
        seed = _mix(self._seed + place) % _NUM_SEEDS
        llama_cpp.llama_sampler_chain_add(self._chain, llama_cpp.llama_sampler_init_dist(seed))

    def _choose(self, logits: Logits, context: Any, output: int) -> int:
        if self._chain is None:
            return int(logits.argmax())
        return int(llama_cpp.llama_sampler_sample(self._chain, context, output))

    def _adjust(
        self, sequence: Sequence, logits: Logits
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
        """The tokens whose logits change, and what they become.

        Frequency and presence: mu[j] - count[j] * frequency - (count[j] > 0) * presence, over generated tokens
        (OpenAI's API reference). Repeat: l / r if l > 0 else l * r, over prompt and generated tokens (CTRL,
        arXiv:1909.05858).
        """
        parameters = self._parameters
        for token in sequence.tokens[self._num_counted_tokens :]:
            generated = self._num_counted_tokens >= sequence.num_prompt_tokens
            self._counts[token] = self._counts.get(token, 0) + generated
            self._num_counted_tokens += 1
        counts = self._counts
        touched = counts.keys() | parameters.logit_bias.keys()
        tokens = np.fromiter(touched, np.intp, len(touched))
        values = logits[tokens]
        if parameters.logit_bias:
            values += np.fromiter(
                (parameters.logit_bias.get(t, 0.0) for t in touched), np.float32, len(touched)
            )
        if parameters.repeat_penalty != 1:
            seen = np.fromiter((t in counts for t in touched), np.bool_, len(touched))
            penalised = np.where(
                values > 0, values / parameters.repeat_penalty, values * parameters.repeat_penalty
            )
            values = np.where(seen, penalised, values)
        if parameters.frequency_penalty or parameters.presence_penalty:
            number = np.fromiter((counts.get(t, 0) for t in touched), np.float32, len(touched))
            values -= number * parameters.frequency_penalty + (number > 0) * parameters.presence_penalty
        return tokens, values.astype(np.float32)


def _mix(number: int) -> int:
    """64 bits that look random, from a number that need not (splitmix64: Steele, Lea, Flood, OOPSLA 2014)."""
    mixed = (number + 0x9E3779B97F4A7C15) & _MASK_64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK_64
    return mixed ^ (mixed >> 31)


def _chain(parameters: SamplingParameters) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())

    def add(sampler: Any) -> None:
        llama_cpp.llama_sampler_chain_add(chain, sampler)

    if parameters.top_k > 0:
        add(llama_cpp.llama_sampler_init_top_k(parameters.top_k))
    add(llama_cpp.llama_sampler_init_temp(parameters.temperature))
    if parameters.top_p < 1:
        add(llama_cpp.llama_sampler_init_top_p(parameters.top_p, 1))
    if parameters.min_p > 0:
        add(llama_cpp.llama_sampler_init_min_p(parameters.min_p, 1))
    add(llama_cpp.llama_sampler_init_dist(0))  # stands for the one that each token gets
    return chain
