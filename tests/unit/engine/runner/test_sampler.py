"""The sampler, against its definition written out for the whole vocabulary."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.runner.sampler import Logits, Sampler, _mix
from llamawire_server.engine.sequence import SamplingParameters, Sequence

VOCABULARY_SIZE = 8


def parameters(**changes: object) -> SamplingParameters:
    """Everything may come, by its probability, but for `changes`."""
    fields: dict[str, object] = {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "repeat_penalty": 1.0,
        "seed": 7,
        "logit_bias": {},
    }
    return SamplingParameters(**(fields | changes))  # type: ignore[arg-type]


def sequence_with(sampling: SamplingParameters, index: int = 0) -> Sequence:
    return Sequence(1, index, [1], 1, 100_000, sampling)


def adjusted(
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


def distribution(row: list[float], sampling: SamplingParameters) -> dict[int, float]:
    """The probabilities of the tokens that may come, in their order, by a full sort and full softmaxes."""
    order = sorted(range(len(row)), key=lambda token: (-row[token], token))
    if sampling.temperature == 0 or sampling.top_k == 1 or sampling.top_p == 0:
        return {order[0]: 1.0}
    if sampling.top_k:
        order = order[: sampling.top_k]
    weights = [math.exp((row[token] - row[order[0]]) / sampling.temperature) for token in order]
    total = math.fsum(weights)
    if sampling.top_p < 1:
        reached = list(accumulate(weights))
        weights = weights[: bisect.bisect_left(reached, sampling.top_p * total) + 1]
    weights = [weight for weight in weights if weight >= sampling.min_p]
    total = math.fsum(weights)
    return dict(sorted((token, weight / total) for token, weight in zip(order, weights, strict=False)))


def uniform(seed: int, place: int) -> float:
    return (_mix(_mix(seed) + place) >> 11) / 2**53


def inverted(probabilities: dict[int, float], point: float) -> set[int]:
    """The token at a point of the cumulative distribution, and its neighbour where rounding may decide."""
    found = set()
    for at in (point - 1e-12, point + 1e-12):
        reached = 0.0
        for token, probability in probabilities.items():
            reached += probability
            if reached > at:
                found.add(token)
                break
    return found


logits = st.one_of(
    st.integers(-300, 300).map(lambda number: number / 10),
    st.sampled_from([0.0, -0.0, 1.5]),  # ties
    st.floats(-1e4, 1e4, width=32),
)
short_rows = st.lists(logits, min_size=1, max_size=40)


@st.composite
def long_rows(draw: st.DrawFn) -> list[float]:
    """Longer than what is sorted at once or looked at in groups; with many ties or none."""
    size = draw(st.sampled_from([63, 64, 65, 1000, 1025, 5000]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    row = generator.normal(0, draw(st.sampled_from([0.0, 0.5, 3.0])), size)
    decimals = draw(st.sampled_from([0, 1, 9]))
    return [float(logit) for logit in np.round(row, decimals).astype(np.float32)]


samplings = st.builds(
    lambda **fields: parameters(**fields),
    temperature=st.sampled_from([0.0, 1e-40, 0.1, 0.7, 1.0, 2.0]),
    top_p=st.sampled_from([0.0, 1e-9, 0.3, 0.95, 0.999, 1.0]),
    top_k=st.sampled_from([0, 1, 2, 5, 64, 700, 100_000]),
    min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(-(2**63), 2**63 - 1),
)


@given(row=st.one_of(short_rows, long_rows()), sampling=samplings)
def test_a_token_is_the_full_distribution_inverted_at_its_places_random_number(
    row: list[float], sampling: SamplingParameters
) -> None:
    sampler = Sampler(sequence_with(sampling))
    memory = np.array(row, np.float32)
    scores = memory.tolist()
    if sampling.temperature == 1e-40:  # below any difference: only the likeliest weigh anything
        highest = max(scores)
        scores = [score if score == highest else -math.inf for score in scores]
        expected = distribution(scores, structs.replace(sampling, temperature=1.0))
    else:
        expected = distribution(scores, sampling)
    for place in range(4):
        assert sampler.place == place
        assert sampler.sample(memory) in inverted(expected, uniform(sampling.seed, place))
    assert np.array_equal(memory, np.array(row, np.float32))


tokens = st.lists(st.integers(0, VOCABULARY_SIZE - 1), max_size=40)
rows = st.lists(st.integers(-300, 300), min_size=VOCABULARY_SIZE, max_size=VOCABULARY_SIZE, unique=True)
penalties = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 2.0])
biases = st.dictionaries(st.integers(0, VOCABULARY_SIZE - 1), st.sampled_from([-100.0, -3.0, 0.5, 100.0]))


@given(
    row=rows,
    prompt=tokens,
    repeat=st.sampled_from([0.5, 1.0, 1.3]),
    frequency=penalties,
    presence=penalties,
    bias=biases,
)
def test_the_best_token_is_the_formulas_and_the_logits_stay_as_they_were(
    row: list[int],
    prompt: list[int],
    repeat: float,
    frequency: float,
    presence: float,
    bias: dict[int, float],
) -> None:
    sampling = parameters(
        temperature=0.0,
        frequency_penalty=frequency,
        presence_penalty=presence,
        repeat_penalty=repeat,
        logit_bias=bias,
    )
    sampler = Sampler(Sequence(1, 0, [*prompt], len(prompt), 100, sampling))
    memory = np.array(row, np.float32) / 10
    before = memory.copy()
    generated: list[int] = []
    # Token by token, as it goes: the counts are kept from one step to the next.
    for _ in range(12):
        chosen = sampler.sample(memory)
        scores = adjusted(before.tolist(), prompt, generated, sampling)
        assert scores[chosen] == pytest.approx(max(scores), abs=1e-3)
        assert np.array_equal(memory, before), "siblings sample from the same row"
        generated.append(chosen)


@given(row=rows, prompt=tokens, sampling=samplings, bias=biases, at=st.integers(0, 30))
def test_a_sequence_goes_on_in_the_middle_as_from_the_beginning(
    row: list[int], prompt: list[int], sampling: SamplingParameters, bias: dict[int, float], at: int
) -> None:
    fields = {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "min_p", "seed")}
    sampling = parameters(
        **fields, frequency_penalty=0.5, presence_penalty=0.5, repeat_penalty=1.3, logit_bias=bias
    )
    memory = np.array(row, np.float32) / 100
    whole = Sequence(1, 0, [*prompt], len(prompt), 100, sampling)
    sampler = Sampler(whole)
    generated = [sampler.sample(memory) for _ in range(31)]
    resumed = Sampler(Sequence(2, 0, [*prompt, *generated[:at]], len(prompt), 100, sampling))
    assert [resumed.sample(memory) for _ in range(31 - at)] == generated[at:]


def test_many_tokens_can_be_counted() -> None:
    """More than there was room for at first, each once: the presence penalty then bans it."""
    sampler = Sampler(sequence_with(parameters(temperature=0.0, presence_penalty=2.0)))
    flat = np.linspace(1, 0, 500, dtype=np.float32)
    assert [sampler.sample(flat) for _ in range(500)] == list(range(500))
    assert sampler.sample(flat) == 0


def chi_square(row: Logits, sampling: SamplingParameters, num_draws: int) -> tuple[float, int]:
    """How far the draws are from the distribution, and the degrees of freedom."""
    sampler = Sampler(sequence_with(sampling))
    counts = Counter(sampler.sample(row) for _ in range(num_draws))
    expected = distribution([float(logit) for logit in row], sampling)
    assert counts.keys() <= expected.keys()
    distance = sum(
        (counts[token] - num_draws * probability) ** 2 / (num_draws * probability)
        for token, probability in expected.items()
    )
    return distance, len(expected) - 1


@pytest.mark.parametrize(
    "sampling",
    [
        parameters(),
        parameters(temperature=0.6),
        parameters(temperature=2.0, top_k=12),
        parameters(top_p=0.8),
        parameters(min_p=0.1),
        parameters(top_k=20, top_p=0.9, min_p=0.02, temperature=1.4, seed=2**40),
    ],
)
def test_places_together_draw_the_distribution(sampling: SamplingParameters) -> None:
    row = np.random.default_rng(1).normal(0, 1, 40).astype(np.float32)
    distance, freedom = chi_square(row, sampling, 20_000)
    # Five standard deviations; the seeds are fixed, so this holds for ever or never.
    assert distance < freedom + 5 * math.sqrt(2 * freedom)


def test_siblings_draw_independently() -> None:
    row = np.zeros(10, np.float32)
    siblings = [Sampler(sequence_with(parameters(), index)) for index in range(2)]
    pairs = Counter(tuple(sampler.sample(row) for sampler in siblings) for _ in range(20_000))
    distance = sum((pairs[i, j] - 200) ** 2 / 200 for i in range(10) for j in range(10))
    assert distance < 99 + 5 * math.sqrt(2 * 99)


def draws(sequence: Sequence, num_tokens: int) -> list[int]:
    sampler = Sampler(sequence)
    row = np.zeros(100_000, np.float32)
    return [sampler.sample(row) for _ in range(num_tokens)]


def test_what_is_drawn_depends_on_the_seed_the_choice_and_the_place_alone() -> None:
    whole = draws(sequence_with(parameters(seed=7)), 30)
    assert len(set(whole)) > 25, "each place draws anew"
    resumed = sequence_with(parameters(seed=7))
    resumed.tokens += [1] * 20
    assert draws(resumed, 10) == whole[20:], "in the middle as from the beginning"
    assert len(set(draws(sequence_with(parameters(seed=8)), 30)) & set(whole)) < 3
    assert draws(sequence_with(parameters(seed=-1)), 1) != whole[:1]


@given(seed=st.integers(-(2**63), 2**63 - 200))
@settings(max_examples=10)
def test_seeds_near_each_other_share_no_choice(seed: int) -> None:
    runs = [
        tuple(drawn[start : start + 3])
        for near in range(seed, seed + 4)
        for index in range(6)
        for drawn in [draws(sequence_with(parameters(seed=near), index=index), 12)]
        for start in range(10)
    ]
    assert len(set(runs)) == len(runs), "not at other places either"


def test_no_choice_has_another_one_s_seed_among_many() -> None:
    seeds = {
        Sampler(sequence_with(parameters(seed=seed), index=index))._seed
        for seed in range(-50, 50)
        for index in range(128)
    }
    assert len(seeds) == 100 * 128


def test_a_seed_gives_the_same_tokens_on_every_machine() -> None:
    row = np.arange(1000, dtype=np.float32) % 17 / 4
    found = [
        [sampler.sample(row) for _ in range(6)]
        for sampler in (
            Sampler(sequence_with(parameters(seed=42))),
            Sampler(sequence_with(parameters(seed=42, top_k=64, top_p=0.95))),
            Sampler(sequence_with(parameters(seed=42), index=2)),
        )
    ]
    assert found == [
        [347, 979, 450, 419, 573, 815],
        [322, 968, 441, 407, 560, 815],
        [3, 116, 356, 7, 270, 916],
    ]


def test_of_equals_the_lowest_token_is_the_greedy_one() -> None:
    row = np.array([0, 3, -1, 3, 3], np.float32)
    for change in ({"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.0}):
        sampler = Sampler(sequence_with(parameters(**change)))
        assert [sampler.sample(row) for _ in range(5)] == [1] * 5


SAMPLINGS = [
    parameters(temperature=0.0),
    parameters(),
    parameters(top_k=2),
    parameters(top_k=64, top_p=0.95),
    parameters(min_p=0.1),
    parameters(frequency_penalty=1.0, repeat_penalty=1.2, logit_bias={0: 1.0, 3: -1.0}),
]
NAN, INFINITY = math.nan, math.inf


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("num_tokens", [4, 3000])
def test_what_is_minus_infinite_or_no_number_never_comes(
    sampling: SamplingParameters, num_tokens: int
) -> None:
    row = np.full(num_tokens, -INFINITY, np.float32)
    row[:4] = [NAN, 1, -INFINITY, 1]
    row[-1:] = 1
    sampler = Sampler(sequence_with(sampling))
    before = row.copy()
    assert {sampler.sample(row) for _ in range(50)} <= {1, 3, num_tokens - 1}
    assert np.array_equal(row, before, equal_nan=True)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_what_is_infinite_always_comes(sampling: SamplingParameters) -> None:
    row = np.array([NAN, 1, INFINITY, INFINITY], np.float32)
    sampler = Sampler(sequence_with(sampling))
    assert [sampler.sample(row) for _ in range(3)] == [2] * 3


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("logit", [NAN, -INFINITY])
def test_a_row_without_a_possible_token_is_an_error(sampling: SamplingParameters, logit: float) -> None:
    row = np.full(100, logit, np.float32)
    sampler = Sampler(sequence_with(sampling))
    with pytest.raises(DecodeError):
        sampler.sample(row)
    assert sampler.place == 0
    assert np.array_equal(row, np.full(100, logit, np.float32), equal_nan=True)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_widest_range_of_numbers_is_no_trouble(sampling: SamplingParameters) -> None:
    greatest = float(np.finfo(np.float32).max)
    row = np.array([-greatest, greatest, -greatest, 0.0], np.float32)
    assert Sampler(sequence_with(sampling)).sample(row) == 1
