"""Scripts as modules: they import one another as they do when they are run."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def scripts_on_path(monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(__file__).parents[3] / "scripts"
    monkeypatch.syspath_prepend(folder)
    return folder
