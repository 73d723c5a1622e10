"""The `llamawire` command: talk to a server's models from a terminal.

Exit codes: 0, 1 where something failed, 2 for a wrong command line, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from llamawire.channel import DEFAULT_TARGET
from llamawire.chat_request import ChatOptions
from llamawire.client import Client
from llamawire.errors import ConnectionFailedError, LlamawireError
from llamawire.models_command import add_models_command, run_models_command
from llamawire.terminal import TerminalChat
from llamawire.v1 import model_pb2

INTERRUPTED = 130


class CommandError(Exception):
    """What a command can't do, in words for the person who gave it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code. A wrong one raises SystemExit, as argparse does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="replace"
        )  # a terminal that can't show a character is no reason to stop
    parser = _build_parser()
    arguments = parser.parse_args(argv)
    try:
        with Client(arguments.target, timeout_seconds=arguments.timeout) as client:
            exit_code = 0
            if arguments.command == "chat":
                _chat(client, arguments, parser)
            else:
                exit_code = run_models_command(client, arguments)
        sys.stdout.flush()  # here, where a reader who has left is still met
    except ConnectionFailedError as error:
        return _fail(f"can't reach a llamawire server at {arguments.target}: {error}")
    except (LlamawireError, CommandError) as error:
        return _fail(str(error))
    except ValueError as error:  # a number or a text that no request can hold, such as one that is not UTF-8
        return _fail(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; the interpreter must not try to flush what remains of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return exit_code


def choose_model(models: Sequence[model_pb2.Model]) -> str:
    """The name of the model to use when none is named: the only one, or else the first that is ready.

    Raises CommandError where there is none, or several and none of them is ready.
    """
    ready = [model for model in models if model.state == model_pb2.MODEL_STATE_READY]
    candidates = models if len(models) == 1 else ready
    if candidates:
        return candidates[0].name
    if not models:
        raise CommandError("the server has no models")
    raise CommandError(f"name a model with --model: {', '.join(model.name for model in models)}")


def _chat(client: Client, arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    prompt: str | None = arguments.prompt
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read().strip()
        if not prompt:
            parser.error("the prompt is empty")
    if prompt is None and arguments.json:
        parser.error("--json needs a prompt")
    options: ChatOptions = {
        "model": arguments.model or choose_model(client.models.list()),
        "temperature": arguments.temperature,
        "top_p": arguments.top_p,
        "max_tokens": arguments.max_tokens,
        "seed": arguments.seed,
        "stop": arguments.stop,
    }
    chat = TerminalChat(client, options, system_text=arguments.system, verbose=arguments.verbose)
    if prompt is None:
        chat.converse()
    elif arguments.json:
        chat.answer_as_json(prompt)
    else:
        chat.answer(prompt)


def _fail(message: str) -> int:
    sys.stderr.write(f"llamawire: {message}\n")
    return 1


def _build_parser() -> argparse.ArgumentParser:
    connection = argparse.ArgumentParser(add_help=False)
    connection.add_argument(
        "--target",
        metavar="HOST:PORT",
        default=os.environ.get("LLAMAWIRE_TARGET", DEFAULT_TARGET),
        help="the server (default: $LLAMAWIRE_TARGET, or %(default)s)",
    )
    connection.add_argument("--timeout", metavar="SECONDS", type=float, help="give up after this long")

    parser = argparse.ArgumentParser(prog="llamawire", description="Talk to a llamawire server.")
    parser.add_argument("--version", action="version", version=f"llamawire {metadata.version('llamawire')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    chat = commands.add_parser(
        "chat",
        parents=[connection],
        help="ask a model",
        description="Ask a model. Without a prompt, on a terminal: hold a conversation.",
    )
    chat.add_argument("prompt", nargs="?", metavar="PROMPT", help="what to ask (default: standard input)")
    chat.add_argument(
        "--model", metavar="NAME", help="which model (default: the only one, or one that is ready)"
    )
    chat.add_argument("--system", metavar="TEXT", help="instructions to the model")
    chat.add_argument("--temperature", metavar="T", type=float, help="0 is greedy")
    chat.add_argument("--top-p", metavar="P", type=float, help="nucleus sampling")
    chat.add_argument("--max-tokens", metavar="N", type=int, help="the longest answer")
    chat.add_argument("--seed", metavar="N", type=int, help="makes sampling repeat itself")
    chat.add_argument("--stop", metavar="TEXT", action="append", help="ends the answer; may be given again")
    chat.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    chat.add_argument(
        "-v", "--verbose", action="store_true", help="show reasoning, usage and timings on standard error"
    )

    add_models_command(commands, connection)
    return parser
