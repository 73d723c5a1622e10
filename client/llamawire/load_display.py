"""How a load goes on, on standard error: a bar on a terminal, and lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TypeAlias

from llamawire.model_words import describe_size, describe_state
from llamawire.v1 import model_pb2

Show: TypeAlias = "Callable[[model_pb2.Model], None]"


@contextlib.contextmanager
def load_display(name: str) -> Iterator[Show]:
    """Takes the model as it stands, again and again. What it shows on a terminal is gone afterwards."""
    if not sys.stderr.isatty():
        yield LoadLines()
        return
    # Imported here because it takes longer than everything else that the command does.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[share]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        console=Console(file=sys.stderr),
        transient=True,
    )
    task = progress.add_task(name, total=None, share="", detail="")

    def show(model: model_pb2.Model) -> None:
        share = 1.0 if model.state == model_pb2.MODEL_STATE_READY else model.load_progress
        progress.update(
            task,
            # Without a total the bar runs to and fro: nothing is loaded yet.
            total=1.0 if share else None,
            completed=share,
            share=_describe_share(share, model.facts.file_size_bytes),
            detail=model.detail,
            refresh=True,
        )

    with progress:
        yield show


class LoadLines:
    """Writes a line for each tenth of a model that is loaded, and whenever there is something else to say."""

    def __init__(self) -> None:
        self._said: tuple[object, ...] = ()

    def __call__(self, model: model_pb2.Model) -> None:
        if model.state == model_pb2.MODEL_STATE_READY:
            return  # which the command's output says
        news = (model.state, int(model.load_progress * 10 + 1e-6), model.detail)
        if news == self._said:
            return
        self._said = news
        detail = f", {model.detail}" if model.detail else ""
        sys.stderr.write(f"{model.name} {describe_state(model)}{detail}\n")
        sys.stderr.flush()


def _describe_share(share: float, size_bytes: int) -> str:
    if not (share and size_bytes):
        return f"{share:.0%}" if share else ""
    return f"{share:.0%}  {describe_size(int(share * size_bytes))} / {describe_size(size_bytes)}"
