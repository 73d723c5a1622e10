"""A pool without processes."""

from __future__ import annotations

from functools import partial

import pytest
from pool_fakes import RunPool, StubResolver, running_pool


@pytest.fixture
def resolver() -> StubResolver:
    """What the pool asks for names."""
    return StubResolver()


@pytest.fixture
def run_pool(resolver: StubResolver) -> RunPool:
    """Runs a pool of the models that are named, and checks that it leaves nothing behind."""
    return partial(running_pool, resolver)
