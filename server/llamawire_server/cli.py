"""The command `llamawire-server`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llamawire_server import __version__
from llamawire_server.config import HOME, ServerConfig
from llamawire_server.configuration.options import add_options, given_options
from llamawire_server.doctor import command as doctor

if TYPE_CHECKING:
    from llamawire_server.configuration.layers import Configuration

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

# The settings of the HTTP side when it is alone.
_SHIM_KEYS = (
    "http_address",
    "allow_unknown_fields",
    "allowed_origins",
    "max_kept_responses",
    "max_kept_response_bytes",
    "drain_seconds",
    "log_level",
)

_WRONG_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status."""
    # Imports are not at the top: YAML, gRPC, FastAPI and their like take longer than `--help` should take, and
    # the doctor works without them.
    arguments = _parser().parse_args(argv)
    if arguments.command == "doctor":
        return doctor.main(arguments, resolve=lambda name: _resolve_file(name, arguments.config))
    from llamawire_server.configuration.layers import ConfigurationError

    try:
        configuration = _load(arguments)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            sys.stderr.write(f"llamawire-server: {mistake}\n")
        return _WRONG_USAGE
    for warning in configuration.warnings:
        sys.stderr.write(f"llamawire-server: {warning}\n")
    if arguments.command == "config":
        from llamawire_server.configuration.report import as_json, as_yaml

        sys.stdout.write(as_json(configuration) if arguments.json else as_yaml(configuration))
        return 0
    return _run_server(arguments, configuration.server)


def _run_server(arguments: argparse.Namespace, config: ServerConfig) -> int:
    # Workers inherit it: they log to the same stream, at the same level.
    os.environ["LLAMAWIRE_LOG_LEVEL"] = config.log_level
    logging.basicConfig(level=config.log_level, format=LOG_FORMAT, stream=sys.stderr)
    # gRPC's C core logs in a form of its own; what matters of it is said by whoever calls it.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")

    from llamawire_server.app import ModelServer, Runnable, ShimServer, StartupError, run

    def create() -> Runnable:
        if arguments.command == "serve":
            return ModelServer(config)
        if config.http_address is None:
            raise StartupError("http_address is null, and the shim serves nothing else")
        return ShimServer(arguments.target, config.http_address, config)

    async def serve() -> None:
        await run(create())

    try:
        asyncio.run(serve())
    except StartupError as error:
        sys.stderr.write(f"llamawire-server: {error}\n")
        return 1
    return 0


def _load(arguments: argparse.Namespace) -> Configuration:
    """What is in force. Raises ConfigurationError."""
    from llamawire_server.configuration.layers import load_configuration

    return load_configuration(given_options(arguments), os.environ, arguments.config)


def _resolve_file(name: str, config_file: Path | None) -> Path | None:
    """A model's file by name, as `serve` would find it. Raises NoModelError where the configuration is wrong."""
    from llamawire_server.configuration.layers import ConfigurationError, load_configuration
    from llamawire_server.doctor.model_file import NoModelError
    from llamawire_server.errors import ServiceError
    from llamawire_server.models.resolver import Resolver

    try:
        configuration = load_configuration({}, os.environ, config_file)
        return Resolver(configuration.server.sources).resolve(name).path
    except ConfigurationError as error:
        raise NoModelError(f"no model can be found: {error}") from error
    except (ServiceError, ValueError):
        return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llamawire-server", description="Serves local GGUF models over gRPC and OpenAI's HTTP API."
    )
    parser.add_argument("--version", action="version", version=f"llamawire-server {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve models", description="Serve models until SIGTERM.")
    _add_config(serve)
    add_options(serve)

    shim = commands.add_parser(
        "shim",
        help="OpenAI's HTTP API in front of a remote gRPC server",
        description="Serve OpenAI's HTTP API in front of a remote llamawire gRPC server.",
    )
    shim.add_argument("--target", metavar="HOST:PORT", required=True, help="the gRPC server")
    _add_config(shim)
    add_options(shim, _SHIM_KEYS)

    show = commands.add_parser(
        "config",
        help="show what serve would run with",
        description="Show every setting that serve would run with, and where each comes from.",
    )
    show.add_argument("--json", action="store_true", help="for programs")
    _add_config(show)
    add_options(show)

    check = commands.add_parser(
        "doctor",
        help="check this machine and this build of llama.cpp",
        description="Check this machine and this build of llama.cpp by really decoding.",
    )
    doctor.add_arguments(check)
    _add_config(check)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"the configuration file (default: $LLAMAWIRE_CONFIG, else {HOME / 'config.yaml'} if it is there)",
    )


if __name__ == "__main__":
    sys.exit(main())
