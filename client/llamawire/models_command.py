"""`llamawire models`: what a server can answer with, and what of it is in memory."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from google.protobuf import json_format

from llamawire import watch_display
from llamawire.client import Client
from llamawire.errors import ConnectionFailedError, LlamawireError
from llamawire.interrupts import open_uninterrupted
from llamawire.load_display import load_display
from llamawire.model_words import describe_loaded, describe_state, describe_troubles
from llamawire.v1 import model_pb2

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_models_command(commands: Commands, connection: argparse.ArgumentParser) -> None:
    """Add `models` to the command line; `connection` has the arguments that all commands take."""
    models = commands.add_parser("models", help="look at models, load and unload them").add_subparsers(
        dest="models_command", required=True, metavar="COMMAND"
    )
    listing = models.add_parser("list", parents=[connection], help="every model that can be named")
    listing.add_argument("--json", action="store_true", help="print them as JSON")

    load = models.add_parser(
        "load",
        parents=[connection],
        help="bring models into memory",
        description="Load models, one after the other. Ctrl-C cancels a load for which nobody else waits.",
    )
    load.add_argument("names", nargs="+", metavar="NAME", help="which model")

    unload = models.add_parser(
        "unload",
        parents=[connection],
        help="take a model out of memory",
        description="Unload a model, once the requests that it answers are done.",
    )
    unload.add_argument("name", metavar="NAME", help="which model")
    unload.add_argument("--cancel-running", action="store_true", help="cancel its requests, do not wait")

    watch = models.add_parser(
        "watch",
        parents=[connection],
        help="how models stand, until Ctrl-C",
        description="Show how models stand, and every change: a table on a terminal, and lines elsewhere.",
    )
    watch.add_argument("names", nargs="*", metavar="NAME", help="which models (default: all)")
    watch.add_argument("--json", action="store_true", help="print each change as a line of JSON")


def run_models_command(client: Client, arguments: argparse.Namespace) -> int:
    """Do what the command line says, and return the exit code. Raises LlamawireError where that fails."""
    if arguments.models_command == "load":
        return _load(client, arguments.names)
    if arguments.models_command == "unload":
        _unload(client, arguments.name, cancel_running=arguments.cancel_running)
    elif arguments.models_command == "watch":
        _watch(client, arguments.names, as_json=arguments.json)
    else:
        _list(client, as_json=arguments.json)
    return 0


def _load(client: Client, names: Sequence[str]) -> int:
    """1 where any of them could not be loaded; the others are loaded all the same."""
    exit_code = 0
    for name in names:
        try:
            model = _follow_load(client, name)
        except ConnectionFailedError:
            raise  # there is no server for the others, either
        except LlamawireError as error:
            sys.stderr.write(f"llamawire: {name}: {error}\n")
            exit_code = 1
        else:
            sys.stdout.write(describe_loaded(model) + "\n")
            sys.stdout.flush()
    return exit_code


def _follow_load(client: Client, name: str) -> model_pb2.Model:
    with load_display(name) as show, open_uninterrupted(lambda: client.models.load(name)) as load:
        for model in load:
            show(model)
    return load.model


def _unload(client: Client, name: str, *, cancel_running: bool) -> None:
    with _spinner(f"{name} leaves memory"):
        model = client.models.unload(name, cancel_running=cancel_running)
    sys.stdout.write(f"{model.name} {describe_state(model)}\n")


def _watch(client: Client, names: Sequence[str], *, as_json: bool) -> None:
    with open_uninterrupted(lambda: client.models.watch(*names)) as watch:
        if as_json:
            watch_display.show_as_json(watch)
        elif sys.stdout.isatty():
            watch_display.show_as_table(watch)
        else:
            watch_display.show_as_lines(watch)


def _list(client: Client, *, as_json: bool) -> None:
    models = client.models.list()
    if as_json:
        listed = [json_format.MessageToDict(model, preserving_proto_field_name=True) for model in models]
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
        return
    # Imported here because it takes longer than everything else that the command does.
    from rich.console import Console

    from llamawire.model_table import list_table

    console = Console(file=sys.stdout, markup=False, highlight=False)
    console.print(list_table(models))
    for model in models:
        for trouble in describe_troubles(model):
            console.print(trouble, soft_wrap=True)


@contextlib.contextmanager
def _spinner(text: str) -> Iterator[None]:
    """Tells on a terminal that something takes its time."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(file=sys.stderr).status(Text(text)):
        yield
