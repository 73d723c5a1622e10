"""What a resolver says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llamawire_server.errors import ServiceError
from llamawire_server.models.resolver import Resolver


@pytest.fixture
def refusal() -> Callable[[Resolver, str], ServiceError]:
    """The error that a name gives."""

    def refuse(resolver: Resolver, name: str) -> ServiceError:
        with pytest.raises(ServiceError) as raised:
            resolver.resolve(name)
        return raised.value

    return refuse


@pytest.fixture
def listed() -> Callable[[Resolver], dict[str, str]]:
    """The names that are listed, each with its file's name."""
    return lambda resolver: {entry.name: entry.path.name for entry in resolver.entries()}
