"""Tiny GGUF files, written by hand so that every byte of them can be wrong on purpose; and rosters."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from roster_fakes import NEVER_SECONDS, PATIENCE_SECONDS, FakePool, FakeResolver

from llamawire_server.config import ModelSources
from llamawire_server.errors import ServiceError
from llamawire_server.models.resolver import Resolver
from llamawire_server.models.roster import Roster

UINT32, STRING, ARRAY = 4, 8, 9
F32 = 0


def pack_string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def pack_value(value: object) -> bytes:
    """A string, an unsigned number, a list of strings, or bytes that are already a type and a value."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return struct.pack("<I", STRING) + pack_string(value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    assert isinstance(value, list)
    return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(pack_string, value))


@dataclass(frozen=True)
class Tensor:
    name: str = "token_embd.weight"
    shape: tuple[int, ...] = (32, 2)
    kind: int = F32
    offset: int = 0

    def packed(self) -> bytes:
        dimensions = struct.pack(f"<I{len(self.shape)}Q", len(self.shape), *self.shape)
        return pack_string(self.name) + dimensions + struct.pack("<IQ", self.kind, self.offset)


@dataclass(frozen=True)
class TinyGGUF:
    """A GGUF file with one tensor of 64 numbers, unless told otherwise."""

    values: Mapping[str, object] = field(default_factory=dict)
    tensors: Iterable[Tensor] = (Tensor(),)
    data_bytes: int = 256
    version: int = 3
    alignment: int = 32

    def packed(self) -> bytes:
        tensors = tuple(self.tensors)
        values = {"general.architecture": "llama", **self.values}
        header = b"GGUF" + struct.pack("<IQQ", self.version, len(tensors), len(values))
        header += b"".join(pack_string(key) + pack_value(value) for key, value in values.items())
        header += b"".join(tensor.packed() for tensor in tensors)
        return header + bytes(-len(header) % self.alignment) + bytes(self.data_bytes)


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
def resolver() -> FakeResolver:
    return FakeResolver()


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def readiness() -> dict[str, bool | None]:
    """What the health board was told last of each name."""
    return {}


@pytest.fixture
async def roster(resolver: Any, pool: Any, readiness: dict[str, bool | None]) -> AsyncIterator[Roster]:
    """A roster that looks only when a test wants it to."""
    roster = Roster(resolver, pool, readiness.__setitem__, NEVER_SECONDS)
    pool.on_change = roster.note
    yield roster
    await asyncio.wait_for(roster.close(), PATIENCE_SECONDS)
