"""The context that embeddings are computed in comes and goes, and the vectors stay what they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llamawire_server.config import ModelSettings
from llamawire_server.engine.embedding.job import Job, Piece
from llamawire_server.engine.runner.embedding_context import EmbeddingContext
from llamawire_server.engine.runner.model import EngineLog, LoadedModel


@pytest.fixture(scope="module")
def context(model_file: Path) -> Iterator[EmbeddingContext]:
    settings = ModelSettings(threads=1, context_length=1024)
    loaded = LoadedModel(model_file, settings, EngineLog(lambda *_: None), lambda _: True)
    context = EmbeddingContext(loaded, settings)
    yield context
    context.close_context()


def vectors(context: EmbeddingContext, *inputs: list[int]) -> np.ndarray:
    """A row an input, each computed by itself in as many batches as it takes."""
    rows = []
    for tokens in inputs:
        job = Job(1, [tokens], 0.0)
        made = None
        for start in range(0, len(tokens), context.limits.batch_tokens):
            stop = min(start + context.limits.batch_tokens, len(tokens))
            (made,) = context.embed([Piece(job, 0, start, stop)])
        assert made is not None
        rows.append(np.frombuffer(made, "<f4"))
    return np.stack(rows)


def test_vectors_are_the_same_in_a_new_context(context: EmbeddingContext) -> None:
    assert not context.has_context, "nobody has asked yet"
    short, long = list(range(100, 140)), list(range(1000, 2000))
    first = vectors(context, short, long)
    assert context.has_context
    context.close_context()
    assert not context.has_context
    context.close_context()  # there is nothing to close
    # What is computed in a context of another size has other last bits.
    again = vectors(context, long, short)[::-1]
    assert np.sum(first * again, axis=1) == pytest.approx(1, abs=0.002)


def test_a_job_can_be_forgotten_without_a_context(context: EmbeddingContext) -> None:
    context.close_context()
    context.forget(Job(9, [[1, 2]], 0.0))
    assert vectors(context, [1, 2]).shape == (1, context.width)
