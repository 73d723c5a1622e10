"""Biases and penalties, against their formulas written out for the whole vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.engine.sequence import SamplingParameters, Sequence

pytest.importorskip("llama_cpp", reason="the sampler's module needs llama.cpp; these tests need no model")

import llama_cpp

from llamawire_server.engine.runner.sampler import Sampler

VOCABULARY_SIZE = 8

tokens = st.lists(st.integers(0, VOCABULARY_SIZE - 1), max_size=12)
rows = st.lists(st.integers(-300, 300), min_size=VOCABULARY_SIZE, max_size=VOCABULARY_SIZE, unique=True)
penalties = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 2.0])


def formula(
    row: list[float], prompt: list[int], generated: list[int], sampling: SamplingParameters
) -> list[float]:
    scores = []
    for token, logit in enumerate(row):
        score = logit + sampling.logit_bias.get(token, 0.0)
        if token in prompt or token in generated:
            score = score / sampling.repeat_penalty if score > 0 else score * sampling.repeat_penalty
        score -= generated.count(token) * sampling.frequency_penalty
        score -= (token in generated) * sampling.presence_penalty
        scores.append(score)
    return scores


@given(
    row=rows,
    prompt=tokens,
    generated=tokens,
    repeat=st.sampled_from([0.5, 1.0, 1.3]),
    frequency=penalties,
    presence=penalties,
    bias=st.dictionaries(st.integers(0, VOCABULARY_SIZE - 1), st.sampled_from([-100.0, -3.0, 0.5, 100.0])),
)
def test_the_best_token_is_the_formulas_and_the_logits_stay_as_they_were(
    row: list[int],
    prompt: list[int],
    generated: list[int],
    repeat: float,
    frequency: float,
    presence: float,
    bias: dict[int, float],
) -> None:
    sampling = SamplingParameters(
        temperature=0.0,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        frequency_penalty=frequency,
        presence_penalty=presence,
        repeat_penalty=repeat,
        seed=0,
        logit_bias=bias,
    )
    sequence = Sequence(1, 0, [*prompt], len(prompt), 100, sampling)
    sampler = Sampler(sequence)
    logits = np.array(row, np.float32) / 10
    before = logits.copy()
    # Token by token, as it goes: the counts are kept from one step to the next.
    for end in range(len(generated) + 1):
        sequence.tokens[len(prompt) :] = generated[:end]
        chosen = sampler.sample(sequence, logits, None, 0)
        scores = formula(before.tolist(), prompt, generated[:end], sampling)
        assert scores[chosen] == pytest.approx(max(scores), abs=1e-3)
        assert np.array_equal(logits, before), "siblings sample from the same row"
    sampler.close()


def random_sequence(seed: int, index: int = 0) -> Sequence:
    sampling = SamplingParameters(
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        frequency_penalty=0.0,
        presence_penalty=0.0,
        repeat_penalty=1.0,
        seed=seed,
        logit_bias={},
    )
    return Sequence(1, index, [1], 1, 100, sampling)


def draws(sequence: Sequence, num_tokens: int) -> list[int]:
    """The seeds that the sampler draws with, place by place."""
    seeds: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        init = llama_cpp.llama_sampler_init_dist
        patch.setattr(llama_cpp, "llama_sampler_init_dist", lambda seed: seeds.append(seed) or init(seed))
        patch.setattr(llama_cpp, "llama_sampler_sample", lambda chain, context, output: 1)
        sampler = Sampler(sequence)
        logits = np.zeros(VOCABULARY_SIZE, np.float32)
        seeds.clear()
        while len(seeds) < num_tokens:
            sequence.tokens.append(sampler.sample(sequence, logits, None, 0))
        sampler.close()
    return seeds


def test_what_is_drawn_depends_on_the_seed_the_choice_and_the_place_alone() -> None:
    whole = draws(random_sequence(7), 50)
    assert len(set(whole)) == 50
    resumed = random_sequence(7)
    resumed.tokens += [1] * 20
    assert draws(resumed, 30) == whole[20:], "in the middle as from the beginning"
    assert draws(random_sequence(7, index=1), 50) == draws(random_sequence(8), 50)
    assert not set(draws(random_sequence(8), 50)) & set(whole)
    assert draws(random_sequence(-1), 1) != whole[:1]
