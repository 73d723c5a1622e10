"""Tiny models, and resolvers that find them in a test's own folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gguf_files import Tensor, TinyGGUF

from llamawire_server.config import ModelSources
from llamawire_server.models.resolver import Resolver

WriteModel = Callable[..., Path]


@pytest.fixture
def tensor() -> type[Tensor]:
    return Tensor


@pytest.fixture
def tiny_gguf() -> type[TinyGGUF]:
    return TinyGGUF


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """Writes a tiny model to a path below the test's folder; keywords become keys of the file."""

    def write(
        place: str | Path, architecture: str = "llama", name: str | None = None, **values: object
    ) -> Path:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        named = {"general.name": name} if name is not None else {}
        keys = {key.replace("__", "."): value for key, value in values.items()}
        path.write_bytes(TinyGGUF({"general.architecture": architecture, **named, **keys}).packed())
        return path

    return write


@pytest.fixture
def make_resolver(tmp_path: Path) -> Callable[..., Resolver]:
    """Makes a resolver whose models.yaml and folder are in the test's folder; without a bundled model."""

    def make(*named: tuple[str, Path], yaml: str | None = None, bundled: Path | None = None) -> Resolver:
        if yaml is not None:
            (tmp_path / "models.yaml").write_text(yaml)
        sources = ModelSources(tmp_path / "models.yaml", tmp_path / "models", named)
        return Resolver(sources, find_bundled=lambda: bundled)

    return make
