"""A pool without processes."""

from __future__ import annotations

from functools import partial

import pytest
from pool_fakes import RunPool, StubResolver, running_pool, size


@pytest.fixture
def resolver() -> StubResolver:
    """What the pool asks for names."""
    return StubResolver()


@pytest.fixture
def sized(resolver: StubResolver) -> StubResolver:
    """Models of 1 to 6 bytes, called after their size."""
    for number in range(1, 7):
        resolver.add(f"m{number}", settings=size(number))
    return resolver


@pytest.fixture
def run_pool(resolver: StubResolver) -> RunPool:
    """Runs a pool of the models that are named, and checks that it leaves nothing behind."""
    return partial(running_pool, resolver)
