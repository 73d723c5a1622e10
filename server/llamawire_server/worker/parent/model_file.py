"""A model's file, held on to while the model is loaded."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

# llama.cpp finds the other parts of a split model by the name of the first.
_SPLIT_NAME = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


class ModelFile:
    """What a worker loads, the first time and any other.

    By the second time, another file may have taken the place of the first; but requests that go on after a death have
    to go on with the same model. On Linux, whoever holds a file open can have it opened again. The files of split
    models are not held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._signature: tuple[int, int] | None = None
        self.descriptor: int | None = None
        """To be inherited by the worker; None where the file is not held."""
        if sys.platform == "linux" and not _SPLIT_NAME.search(path.name):
            try:
                self.descriptor = os.open(path, os.O_RDONLY)
            except OSError:
                return  # the worker will say what is wrong with it
        self._signature = self._look()

    @property
    def name(self) -> str:
        """What the worker is to open."""
        return str(self.path) if self.descriptor is None else f"/proc/self/fd/{self.descriptor}"

    @property
    def has_changed(self) -> bool:
        """Whether it was written to, or can't be told not to have been."""
        return self._look() != self._signature

    def _look(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat() if self.descriptor is None else os.fstat(self.descriptor)
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def close(self) -> None:
        """Let go of it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
