"""Tiny GGUF files, written by hand so that every byte of them can be wrong on purpose."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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
