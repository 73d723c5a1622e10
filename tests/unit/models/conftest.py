"""What a resolver says, and what models.yaml says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llamawire_server.errors import ServiceError
from llamawire_server.models.catalog import Catalog, DocumentError, load_catalog
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


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str | bytes], Catalog]:
    """Loads a catalog from the text of its models.yaml."""

    def load_text(text: str | bytes) -> Catalog:
        path = tmp_path / "models.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_catalog(path)

    return load_text


@pytest.fixture
def mistake(load: Callable[[str | bytes], Catalog]) -> Callable[[str | bytes], DocumentError]:
    """The one mistake in the text of a models.yaml whose entries are all wrong."""

    def find(text: str | bytes) -> DocumentError:
        catalog = load(text)
        assert catalog.entries == {}
        (problem,) = catalog.problems
        return problem.error

    return find
