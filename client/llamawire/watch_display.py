"""How models stand, as it changes: a table on a terminal, and lines elsewhere."""

from __future__ import annotations

import json
import sys

from google.protobuf import json_format

from llamawire.model_stream import ModelWatch
from llamawire.model_words import describe_change


def show_as_json(watch: ModelWatch) -> None:
    """Write each response as one line of JSON, until the watch ends."""
    for news in watch:
        as_json = json_format.MessageToDict(news.proto, preserving_proto_field_name=True)
        sys.stdout.write(json.dumps(as_json) + "\n")
        sys.stdout.flush()


def show_as_lines(watch: ModelWatch) -> None:
    """Write one line for each model that changed, until the watch ends."""
    for news in watch:
        lines = [f"{name} removed" for name in news.removed]
        lines += [describe_change(model) for model in news.models]
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()


def show_as_table(watch: ModelWatch) -> None:
    """Keep a table on the terminal up to date, until the watch ends."""
    # Imported here because it takes longer than everything else that the command does.
    from rich.console import Console
    from rich.live import Live

    from llamawire.model_table import watch_table

    console = Console(file=sys.stdout, markup=False, highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        for _ in watch:
            live.update(watch_table(watch.models.values()), refresh=True)
