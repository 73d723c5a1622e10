"""A step's rows, sampled together, on threads or not."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.runner.batch_sampling import BatchSampling
from llamawire_server.engine.runner.sampler import Logits, Sampler
from llamawire_server.engine.sequence import SamplingParameters, Sequence

VOCABULARY_SIZE = 20_000


def sampler(index: int, top_k: int) -> Sampler:
    sampling = SamplingParameters(
        temperature=1.5,
        top_p=0.95,
        top_k=top_k,
        min_p=0.0,
        frequency_penalty=1.0,
        presence_penalty=0.0,
        repeat_penalty=1.0,
        seed=11,
        logit_bias={index: 20.0},
    )
    return Sampler(Sequence(1, index, [1], 1, 100, sampling))


def batch(top_ks: list[int], num_rows: int) -> list[tuple[Sampler, Logits]]:
    """Samplers that differ, over fewer rows than there are samplers."""
    rows = np.random.default_rng(3).normal(0, 3, (num_rows, VOCABULARY_SIZE)).astype(np.float32)
    return [(sampler(index, top_k), rows[index % num_rows]) for index, top_k in enumerate(top_ks)]


@pytest.mark.parametrize("top_ks", [[], [0], [64] * 5, [0] * 7, [0, 64, 0, 1, 0, 0, 20, 0]])
@pytest.mark.parametrize("num_rows", [1, 3])
@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_each_token_is_what_its_sampler_gives_alone(
    top_ks: list[int], num_rows: int, num_threads: int
) -> None:
    alone, together = batch(top_ks, num_rows), batch(top_ks, num_rows)
    before = [row.copy() for _, row in together]
    sampling = BatchSampling(num_threads)
    for _ in range(5):
        assert sampling.sample(together) == [sampler.pick(row) for sampler, row in alone]
    sampling.close()
    for (_, row), copy in zip(together, before, strict=True):
        assert np.array_equal(row, copy)


def test_threads_are_there_once_they_pay_and_end_with_it() -> None:
    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("sampling")]

    sampling = BatchSampling(2)
    sampling.sample(batch([64] * 8, 8))
    assert not names()
    sampling.sample(batch([0] * 8, 8))
    assert len(names()) == 1
    sampling.close()
    assert not names()


@pytest.mark.parametrize("bad", [0, 1, 3])
def test_a_row_without_a_possible_token_fails_the_batch_when_all_is_done(bad: int) -> None:
    pairs = batch([0] * 4, 4)
    pairs[bad][1][:] = np.nan
    before = [row.copy() for _, row in pairs]
    sampling = BatchSampling(3)
    with pytest.raises(DecodeError):
        sampling.sample(pairs)
    for (_, row), copy in zip(pairs, before, strict=True):
        assert np.array_equal(row, copy, equal_nan=True)
    del pairs[bad]
    sampling.sample(pairs)
    sampling.close()
