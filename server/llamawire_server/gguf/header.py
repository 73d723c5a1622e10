"""The header of a GGUF file: its keys, and how much data its tensors need."""

from __future__ import annotations

import os
import re
import stat
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from llamawire_server.gguf.reader import ForwardReader, GGUFError
from llamawire_server.gguf.types import TENSOR_TYPES

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT_BYTES = 32
_MAX_DIMENSIONS = 4
_MAX_ELEMENTS = 2**63 - 1

# Far beyond any real file; they bound the time and memory that a hostile one can take.
_MAX_TENSORS = 2**17
_MAX_KEYS = 2**14
_MAX_NAME_BYTES = 1024
_MAX_TEMPLATE_BYTES = 2**22
_MAX_ARRAY_STRINGS = 2**22
_MAX_LAYERS = 2**10
_MAX_KEPT_NUMBERS = 2**14

_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
_U64 = struct.Struct("<Q")
_TYPE_STRING = 8
_TYPE_ARRAY = 9
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: _U32,
    5: _I32,
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: _U64,
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_FLOATS = (6, 12)

# The strings that are kept, each with the most bytes that it may have; others are passed over.
_TEXT_KEYS = {
    "general.architecture": _MAX_NAME_BYTES,
    "general.name": _MAX_NAME_BYTES,
    "general.type": _MAX_NAME_BYTES,
    "tokenizer.chat_template": _MAX_TEMPLATE_BYTES,
}

# What is kept of arrays: those with a whole number for each layer. Their names follow the architecture's.
_LAYER_KEYS = frozenset(
    {
        "attention.head_count",
        "attention.head_count_kv",
        "attention.sliding_window_pattern",
        "expert_feed_forward_length",
        "expert_used_count",
        "feed_forward_length",
    }
)

# Tensors by which a layer's kind is told: one that looks back at keys of its own, one that goes on from a state.
_LAYER_TENSOR = re.compile(r"blk\.([0-9]{1,4})\.(?:(?P<keys>attn_k)|(?P<state>ssm_|shortconv|time_mix_))")


@dataclass(frozen=True)
class ArrayLength:
    """Stands for an array, whose elements are passed over."""

    length: int


Value: TypeAlias = "str | int | float | tuple[int, ...] | ArrayLength | None"
"""None stands for a string that was passed over."""


@dataclass(frozen=True)
class Header:
    """What was kept of one file's header."""

    path: Path
    values: dict[str, Value]
    num_elements: int
    """Elements of all tensors together."""

    type_bytes: dict[str, int]
    """How many bytes of the tensors' data are of each type, where the type is known."""

    data_bytes: int
    """How many bytes of the file are the tensors' data."""

    key_layers: frozenset[int]
    """Layers that have a tensor for attention keys alone."""

    state_layers: frozenset[int]
    """Layers that have tensors for a recurrent state."""

    size_bytes: int
    modified_ns: int

    def text(self, key: str) -> str:
        """A string; empty where the key is absent. Raises `GGUFError` where the value is something else."""
        value = self.values.get(key, "")
        if not isinstance(value, str):
            raise GGUFError(self.path, f"{key} is not a string")
        return value

    def count(self, key: str) -> int:
        """A number, or an array's length; 0 where the key is absent.

        Raises `GGUFError` where it is something else, or not in [0, 2^32).
        """
        value = self.values.get(key, 0)
        if isinstance(value, ArrayLength):
            value = value.length
        elif isinstance(value, tuple):
            value = len(value)
        if not isinstance(value, int) or not 0 <= value < 2**32:
            raise GGUFError(self.path, f"{key} is not a number in [0, 2^32)")
        return value

    def sizes(self, key: str) -> tuple[int, ...]:
        """A number for each layer, or one for all; empty where there is none, or one is not in [0, 2^32)."""
        value = self.values.get(key)
        numbers = value if isinstance(value, tuple) else (value,)
        sizes = tuple(number for number in numbers if isinstance(number, int) and 0 <= number < 2**32)
        return sizes if len(sizes) == len(numbers) else ()

    def size(self, key: str, absent: int = 0) -> int:
        """A number; `absent` where there is none, or it is not in [0, 2^32). Of one for each layer the largest."""
        return max(self.sizes(key), default=absent)


def read_header(path: Path) -> Header:
    """Read one file's header. Raises `GGUFError`, and nothing else."""
    try:
        # Looked at before it is opened, because opening a pipe waits for its other end.
        if not stat.S_ISREG(mode := path.stat().st_mode):
            raise GGUFError(path, "is a folder" if stat.S_ISDIR(mode) else "is not a regular file")
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            return _HeaderParser(path, ForwardReader(path, file, status.st_size), status).parse()
    except GGUFError:
        raise
    except FileNotFoundError:
        raise GGUFError(path, "there is no such file") from None
    except OSError as error:
        raise GGUFError(path, f"can't be read: {error.strerror or error}") from None
    except ValueError as error:  # a path that no file can have, such as one with a null character
        raise GGUFError(path, f"can't be read: {error}") from None


class _HeaderParser:
    def __init__(self, path: Path, reader: ForwardReader, status: os.stat_result) -> None:
        self._path = path
        self._reader = reader
        self._status = status
        self._values: dict[str, Value] = {}
        self._array_strings = 0
        self._kept_numbers = 0
        self._num_elements = 0
        self._type_bytes: Counter[str] = Counter()
        self._has_unknown_types = False
        self._key_layers: set[int] = set()
        self._state_layers: set[int] = set()

    def parse(self) -> Header:
        self._check_kind()
        num_tensors = self._reader.integer(_U64, "the number of tensors")
        num_keys = self._reader.integer(_U64, "the number of keys")
        if num_tensors > _MAX_TENSORS or num_keys > _MAX_KEYS:
            raise self._error(f"claims to have {num_tensors:,} tensors and {num_keys:,} keys")
        for index in range(num_keys):
            self._read_pair(index)
        data_bytes = self._read_tensors(num_tensors)
        return Header(
            path=self._path,
            values=self._values,
            num_elements=self._num_elements,
            type_bytes=dict(self._type_bytes),
            data_bytes=data_bytes,
            key_layers=frozenset(self._key_layers),
            state_layers=frozenset(self._state_layers),
            size_bytes=self._status.st_size,
            modified_ns=self._status.st_mtime_ns,
        )

    def _check_kind(self) -> None:
        reader = self._reader
        if reader.remaining_bytes == 0:
            raise self._error("is empty")
        if reader.remaining_bytes < len(_MAGIC) or reader.take(len(_MAGIC), "the first bytes") != _MAGIC:
            raise self._error("is not a GGUF file")
        version = reader.integer(_U32, "the version")
        if version and version & 0xFFFF == 0:
            raise self._error("is a big-endian GGUF file; only little-endian ones can be read")
        if version not in _VERSIONS:
            raise self._error(f"is a GGUF file of version {version}; versions 2 and 3 can be read")

    def _read_pair(self, index: int) -> None:
        key = self._reader.string(_MAX_NAME_BYTES, f"the name of key {index}").decode(errors="replace")
        if key in self._values:
            raise self._error(f"has the key {key[:100]!r} twice")
        self._values[key] = self._read_value(key, f"the value of {key[:100]!r}")

    def _read_value(self, key: str, what: str) -> Value:
        reader = self._reader
        kind = reader.integer(_U32, what)
        if layout := _SCALARS.get(kind):
            return reader.number(layout, what)
        if kind == _TYPE_STRING:
            if max_bytes := _TEXT_KEYS.get(key):
                return reader.string(max_bytes, what).decode(errors="replace")
            reader.skip(reader.integer(_U64, what), what)
            return None
        if kind == _TYPE_ARRAY:
            return self._read_array(key, what)
        raise self._error(f"{what} is of the unknown type {kind}")

    def _read_array(self, key: str, what: str) -> Value:
        reader = self._reader
        kind = reader.integer(_U32, what)
        length = reader.integer(_U64, what)
        if layout := _SCALARS.get(kind):
            if key.partition(".")[2] in _LAYER_KEYS and kind not in _FLOATS and self._keeps(length):
                return tuple(reader.integer(layout, what) for _ in range(length))
            reader.skip(length * layout.size, what)
        elif kind == _TYPE_STRING:
            self._array_strings += length
            if self._array_strings > _MAX_ARRAY_STRINGS:
                raise self._error(f"{what} claims to have {length:,} strings")
            reader.skip_strings(length, what)
        elif kind == _TYPE_ARRAY:
            # llama.cpp reads none either.
            raise self._error(f"{what} is an array of arrays")
        else:
            raise self._error(f"{what} is an array of the unknown type {kind}")
        return ArrayLength(length)

    def _keeps(self, num_numbers: int) -> bool:
        """Whether so many more numbers may be kept."""
        if num_numbers > _MAX_LAYERS or self._kept_numbers + num_numbers > _MAX_KEPT_NUMBERS:
            return False
        self._kept_numbers += num_numbers
        return True

    def _read_tensors(self, num_tensors: int) -> int:
        """Read what is said of the tensors, and give the size of their data."""
        data_bytes, last_tensor = 0, ""
        for index in range(num_tensors):
            name, end = self._read_tensor(index)
            if end > data_bytes:
                data_bytes, last_tensor = end, name
        if num_tensors == 0:
            return 0
        alignment = self._alignment()
        data_start = -(-self._reader.position // alignment) * alignment
        missing = data_start + data_bytes - self._status.st_size
        if missing > 0:
            raise self._error(
                f"ends {missing:,} bytes too early, in the weights of {last_tensor!r}; was it downloaded to its end?"
            )
        # Of a type newer than this program, any part of what is left may be the tensors'.
        return self._status.st_size - data_start if self._has_unknown_types else data_bytes

    def _read_tensor(self, index: int) -> tuple[str, int]:
        """The next tensor's name, and where its data ends, counted from the start of all data."""
        reader = self._reader
        name = reader.string(_MAX_NAME_BYTES, f"the name of tensor {index}").decode(errors="replace")[:100]
        self._note_layer(name)
        what = f"the shape of tensor {name!r}"
        num_dimensions = reader.integer(_U32, what)
        if num_dimensions > _MAX_DIMENSIONS:
            raise self._error(f"tensor {name!r} has {num_dimensions:,} dimensions")
        shape = [reader.integer(_U64, what) for _ in range(num_dimensions)]
        kind = reader.integer(_U32, what)
        offset = reader.integer(_U64, what)

        num_elements = 1
        for size in shape:
            num_elements *= size
        self._num_elements += num_elements
        if self._num_elements > _MAX_ELEMENTS:
            raise self._error(f"tensor {name!r} has the impossible shape {shape}")
        tensor_type = TENSOR_TYPES.get(kind)
        if tensor_type is None:
            self._has_unknown_types = True
            return name, offset  # newer than this program: how long it is can't be told
        row_elements = shape[0] if shape else 1
        if row_elements % tensor_type.block_elements:
            raise self._error(
                f"tensor {name!r} has rows of {row_elements:,} elements, "
                f"not in blocks of {tensor_type.block_elements} as {tensor_type.name} has them"
            )
        num_bytes = num_elements // tensor_type.block_elements * tensor_type.block_bytes
        self._type_bytes[tensor_type.name] += num_bytes
        return name, offset + num_bytes

    def _note_layer(self, tensor: str) -> None:
        if found := _LAYER_TENSOR.match(tensor):
            layers = self._key_layers if found["keys"] else self._state_layers
            layers.add(int(found[1]))

    def _alignment(self) -> int:
        alignment = self._values.get("general.alignment", _DEFAULT_ALIGNMENT_BYTES)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise self._error("general.alignment is not a power of two")
        return alignment

    def _error(self, message: str) -> GGUFError:
        return GGUFError(self._path, message)
