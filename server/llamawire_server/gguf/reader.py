"""Reading a file forwards in small windows, without trust in any number that it holds."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_WINDOW_BYTES = 256 * 1024
_U64 = struct.Struct("<Q")
_STRING_HEAD_BYTES = 8


class GGUFError(ValueError):
    """A file can't be read as a GGUF file. `path` names it, `message` says why."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class ForwardReader:
    """A file read from its start towards its end, without ever holding more than a window of it.

    The file is not mapped into memory: where another program cuts a mapped file short, as a download that
    starts anew does, the next look at it kills the process.

    Every method raises `GGUFError` where the file ends too early, and `OSError` where it can't be read.
    """

    def __init__(self, path: Path, file: BinaryIO, size_bytes: int) -> None:
        self._path = path
        self._file = file
        self._size_bytes = size_bytes
        self._window = b""
        self._window_start = 0
        self._offset = 0  # in the window

    @property
    def position(self) -> int:
        """How many bytes of the file come before the next one."""
        return self._window_start + self._offset

    @property
    def remaining_bytes(self) -> int:
        """How many bytes of the file are left."""
        return self._size_bytes - self.position

    def number(self, layout: struct.Struct, what: str) -> int | float:
        """The next number, laid out as `layout` says."""
        self._fill(layout.size, what)
        value: int | float = layout.unpack_from(self._window, self._offset)[0]
        self._offset += layout.size
        return value

    def integer(self, layout: struct.Struct, what: str) -> int:
        """The next number, where `layout` is that of an integer."""
        return int(self.number(layout, what))

    def take(self, num_bytes: int, what: str) -> bytes:
        """The next bytes."""
        self._fill(num_bytes, what)
        value = self._window[self._offset : self._offset + num_bytes]
        self._offset += num_bytes
        return value

    def string(self, max_bytes: int, what: str) -> bytes:
        """The next string. Raises `GGUFError` where it is longer than `max_bytes`."""
        length = self.integer(_U64, what)
        if length > max_bytes:
            raise GGUFError(self._path, f"{what} is {length:,} bytes long; at most {max_bytes:,} are read")
        return self.take(length, what)

    def skip(self, num_bytes: int, what: str) -> None:
        """Pass over bytes."""
        self._move(self.position + num_bytes, what)

    def skip_strings(self, count: int, what: str) -> None:
        """Pass over strings, looking only at their lengths."""
        if count * _STRING_HEAD_BYTES > self.remaining_bytes:
            raise self._ends_in(what)
        unpack_from = _U64.unpack_from
        while count:
            self._fill(_STRING_HEAD_BYTES, what)
            window, offset = self._window, self._offset
            last = len(window) - _STRING_HEAD_BYTES
            while count and offset <= last:
                offset += _STRING_HEAD_BYTES + unpack_from(window, offset)[0]
                count -= 1
            self._move(self._window_start + offset, what)

    def _move(self, position: int, what: str) -> None:
        if position > self._size_bytes:
            raise self._ends_in(what)
        offset = position - self._window_start
        if offset > len(self._window):
            self._window, self._window_start, offset = b"", position, 0
        self._offset = offset

    def _fill(self, num_bytes: int, what: str) -> None:
        """Make the window hold the next `num_bytes`."""
        if len(self._window) - self._offset >= num_bytes:
            return
        if num_bytes > self.remaining_bytes:
            raise self._ends_in(what)
        start = self.position
        self._file.seek(start)
        self._window = self._file.read(max(num_bytes, _WINDOW_BYTES))
        self._window_start, self._offset = start, 0
        if len(self._window) < num_bytes:
            raise self._ends_in(what)

    def _ends_in(self, what: str) -> GGUFError:
        return GGUFError(self._path, f"ends too early, in {what}; was it downloaded to its end?")
