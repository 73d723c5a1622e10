"""Jobs in, vectors out."""

from __future__ import annotations

import pytest
from embedding_fakes import BAD, LIMITS, WHOLE, FakeEmbedder, vector_of

from llamawire_server.engine.budget import StepTargets
from llamawire_server.engine.embedding.engine import LEAST_TOKENS, EmbeddingEngine
from llamawire_server.engine.embedding.job import EmbeddingLimits, Job


def finish(engine: EmbeddingEngine) -> tuple[dict[int, list[bytes]], set[int]]:
    """Run to the end; the vectors of each job, and the jobs that failed."""
    vectors: dict[int, list[bytes]] = {}
    failed = set()
    for _ in range(1000):
        if not engine.has_work:
            return vectors, failed
        for outcome in engine.run(engine.schedule(is_shared=False)):
            vectors.setdefault(outcome.job.request_id, []).extend(outcome.vectors)
            if outcome.is_failed:
                failed.add(outcome.job.request_id)
    raise AssertionError("it comes to no end")


@pytest.mark.parametrize("limits", [LIMITS, WHOLE])
def test_each_input_gets_its_vector(limits: EmbeddingLimits) -> None:
    engine = EmbeddingEngine(FakeEmbedder(limits))
    inputs = {1: [[1] * 80, [2] * 5], 2: [[3, 4, 5]], 3: [[9] * 33] * 3}
    for number, tokens in inputs.items():
        engine.add(Job(number, tokens, rank=number))
    vectors, failed = finish(engine)
    assert vectors == {number: [vector_of(tokens) for tokens in of_job] for number, of_job in inputs.items()}
    assert not failed


def test_only_who_fails_alone_fails() -> None:
    engine = EmbeddingEngine(FakeEmbedder())
    engine.add(Job(1, [[1, 2], [3]], rank=1))
    engine.add(Job(2, [[1], [BAD], [2]], rank=2))
    engine.add(Job(3, [[7] * 90], rank=3))
    vectors, failed = finish(engine)
    assert failed == {2}
    assert vectors[1] == [vector_of([1, 2]), vector_of([3])]
    assert vectors[3] == [vector_of([7] * 90)]


def test_a_context_that_takes_nothing_in_company_serves_everybody_alone() -> None:
    embedder = FakeEmbedder()
    embedder.fails_in_company = True
    engine = EmbeddingEngine(embedder)
    engine.add(Job(1, [[1]] * 3, rank=1))
    engine.add(Job(2, [[7] * 90, [1]], rank=2))
    vectors, failed = finish(engine)
    assert not failed
    assert [len(vectors[number]) for number in (1, 2)] == [3, 2]


def test_a_failure_in_the_middle_of_a_long_input_begins_it_again() -> None:
    embedder = FakeEmbedder()
    engine = EmbeddingEngine(embedder)
    engine.add(Job(1, [[7] * 90], rank=1))
    engine.run(engine.schedule(is_shared=False))
    engine.add(Job(2, [[BAD]], rank=2))
    vectors, failed = finish(engine)
    assert (vectors[1], failed) == ([vector_of([7] * 90)], {2})


def test_a_dropped_job_is_forgotten_wherever_it_stands() -> None:
    embedder = FakeEmbedder()
    engine = EmbeddingEngine(embedder)
    engine.add(Job(1, [[7] * 90], rank=1))
    engine.run(engine.schedule(is_shared=False))
    engine.drop(1)
    engine.drop(1)
    assert (engine.has_work, engine.num_tokens_left, embedder.num_forgotten) == (False, 0, 1)
    engine.add(Job(2, [[8] * 90], rank=2))
    assert finish(engine) == ({2: [vector_of([8] * 90)]}, set())


def test_batches_are_smaller_while_others_wait() -> None:
    limits = EmbeddingLimits(context_length=10_000, batch_tokens=512, batch_inputs=4, takes_parts=True)
    engine = EmbeddingEngine(FakeEmbedder(limits), StepTargets(0.1, 0.4), token_seconds=0.002)
    engine.add(Job(1, [[1] * 9000], rank=1))
    shared = engine.schedule(is_shared=True)
    alone = engine.schedule(is_shared=False)
    assert sum(piece.num_tokens for piece in shared) < sum(piece.num_tokens for piece in alone)
    assert engine.run([]) == []


def test_on_a_slow_machine_batches_are_small_but_not_smaller_than_worth_it() -> None:
    limits = EmbeddingLimits(context_length=10_000, batch_tokens=512, batch_inputs=4, takes_parts=True)
    engine = EmbeddingEngine(FakeEmbedder(limits), StepTargets(0.1, 0.4), token_seconds=1.0)
    engine.add(Job(1, [[1] * 9000], rank=1))
    (piece,) = engine.schedule(is_shared=True)
    assert piece.num_tokens == LEAST_TOKENS
