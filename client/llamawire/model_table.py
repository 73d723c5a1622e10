"""Models as a table on a terminal. Its imports take longer than all else that a command does: import it late."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table

from llamawire.model_words import (
    describe_detail,
    describe_memory,
    describe_size,
    describe_state,
    describe_troubles,
)
from llamawire.v1 import model_pb2

BAR_WIDTH = 16
NUMBERS = ("Size", "Memory", "Context", "Requests")
TEXTS = ("Name", "Detail")


def list_table(models: Iterable[model_pb2.Model]) -> RenderableType:
    """What models there are."""
    models = list(models)
    headings = ["Name", "State", "Kind", "Size", "Memory", "Context"]
    if has_details := any(describe_detail(model) for model in models):
        headings.append("Detail")
    table = _empty_table(headings)
    for model in models:
        facts = model.facts
        context_length = facts.context_length or facts.training_context_length
        table.add_row(
            model.name,
            describe_state(model),
            f"{facts.architecture} {facts.quantization}".strip(),
            describe_size(facts.file_size_bytes),
            describe_memory(model),
            str(context_length or ""),
            *([describe_detail(model)] if has_details else []),
        )
    return table


def watch_table(models: Iterable[model_pb2.Model]) -> RenderableType:
    """How models stand, and what is wrong with them."""
    table = _empty_table(["Name", "State", "Loaded", "Requests", "Memory", "Detail"])
    troubles: list[str] = []
    for model in sorted(models, key=lambda model: model.name):
        is_loading = model.state == model_pb2.MODEL_STATE_LOADING
        table.add_row(
            model.name,
            describe_state(model),
            ProgressBar(total=1.0, completed=model.load_progress, width=BAR_WIDTH) if is_loading else "",
            str(model.active_requests or ""),
            describe_memory(model),
            describe_detail(model),
        )
        troubles += describe_troubles(model)
    return Group(table, *troubles)


def _empty_table(headings: Iterable[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        # Texts fold where the terminal is narrow, so that the rest stays whole.
        table.add_column(
            heading,
            justify="right" if heading in NUMBERS else "left",
            overflow="fold",
            no_wrap=heading not in TEXTS,
            min_width=BAR_WIDTH if heading == "Loaded" else None,
        )
    return table
