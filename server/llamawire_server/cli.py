"""The command `llamawire-server`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llamawire_server import __version__
from llamawire_server.config import ModelSources, ServerConfig
from llamawire_server.doctor import command as doctor

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "doctor":
        return doctor.main(arguments, resolve=_resolve_file)
    # Workers inherit it: they log to the same stream, at the same level.
    os.environ["LLAMAWIRE_LOG_LEVEL"] = arguments.log_level
    logging.basicConfig(level=arguments.log_level, format=LOG_FORMAT, stream=sys.stderr)
    # gRPC's C core logs in a form of its own; what matters of it is said by whoever calls it.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return _run_server(arguments)


def _run_server(arguments: argparse.Namespace) -> int:
    # Not at the top: gRPC, FastAPI and their like take longer to import than `--help` should take.
    from llamawire_server.app import ModelServer, Runnable, ShimServer, StartupError, run

    def create() -> Runnable:
        config = _server_config(arguments)
        if arguments.command == "serve":
            return ModelServer(config)
        return ShimServer(arguments.target, arguments.http, config)

    async def serve() -> None:
        await run(create())

    try:
        asyncio.run(serve())
    except StartupError as error:
        sys.stderr.write(f"llamawire-server: {error}\n")
        return 1
    return 0


def _server_config(arguments: argparse.Namespace) -> ServerConfig:
    config = ServerConfig(allow_unknown_fields=arguments.allow_unknown_fields)
    if arguments.command != "serve":
        return config
    sources = ModelSources(
        models_yaml=arguments.models_yaml or config.sources.models_yaml,
        models_dir=arguments.models_dir or config.sources.models_dir,
        named=tuple(arguments.model),
    )
    return replace(
        config,
        grpc_address=arguments.grpc,
        http_address=None if arguments.no_http else arguments.http,
        sources=sources,
        pool=replace(config.pool, max_loaded_models=arguments.max_loaded_models),
        preload=tuple(arguments.preload),
        drain_seconds=arguments.drain_seconds,
    )


def _resolve_file(name: str) -> Path | None:
    """A model's file by name, as `serve` would find it."""
    from llamawire_server.errors import ServiceError
    from llamawire_server.models.resolver import Resolver

    try:
        return Resolver(ModelSources()).resolve(name).path
    except ServiceError:
        return None


def _parser() -> argparse.ArgumentParser:
    defaults = ServerConfig()
    parser = argparse.ArgumentParser(
        prog="llamawire-server", description="Serves local GGUF models over gRPC and OpenAI's HTTP API."
    )
    parser.add_argument("--version", action="version", version=f"llamawire-server {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve models", description="Serve models until SIGTERM.")
    serve.add_argument(
        "--grpc",
        metavar="HOST:PORT",
        default=defaults.grpc_address,
        help="where gRPC listens; port 0 takes a free one (default: %(default)s)",
    )
    http = serve.add_mutually_exclusive_group()
    http.add_argument(
        "--http",
        metavar="HOST:PORT",
        default=defaults.http_address,
        help="where OpenAI's HTTP API listens (default: %(default)s)",
    )
    http.add_argument("--no-http", action="store_true", help="gRPC only")
    serve.add_argument(
        "--models-yaml",
        metavar="FILE",
        type=_file,
        help=f"names and their files (default: {defaults.sources.models_yaml})",
    )
    serve.add_argument(
        "--models-dir",
        metavar="FOLDER",
        type=_folder,
        help=f"a folder of GGUF files (default: {defaults.sources.models_dir})",
    )
    serve.add_argument(
        "--model",
        metavar="NAME=PATH",
        type=_named_file,
        action="append",
        default=[],
        help="a name and its GGUF file; may be repeated",
    )
    serve.add_argument(
        "--preload",
        metavar="NAME",
        action="append",
        default=[],
        help="load this model before saying that the server is ready; may be repeated",
    )
    serve.add_argument(
        "--max-loaded-models",
        metavar="N",
        type=_positive,
        default=defaults.pool.max_loaded_models,
        help="the least recently used one makes room for the next (default: %(default)s)",
    )
    serve.add_argument(
        "--drain-seconds",
        metavar="SECONDS",
        type=float,
        default=defaults.drain_seconds,
        help="how long running calls may take to finish after SIGTERM (default: %(default)g)",
    )
    _add_common(serve)

    shim = commands.add_parser(
        "shim",
        help="OpenAI's HTTP API in front of a remote gRPC server",
        description="Serve OpenAI's HTTP API in front of a remote llamawire gRPC server.",
    )
    shim.add_argument("--target", metavar="HOST:PORT", required=True, help="the gRPC server")
    shim.add_argument(
        "--http",
        metavar="HOST:PORT",
        default=defaults.http_address,
        help="where OpenAI's HTTP API listens (default: %(default)s)",
    )
    _add_common(shim)

    check = commands.add_parser(
        "doctor",
        help="check this machine and this build of llama.cpp",
        description="Check this machine and this build of llama.cpp by really decoding.",
    )
    doctor.add_arguments(check)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-unknown-fields",
        action="store_true",
        help="ignore fields of HTTP requests that neither OpenAI nor llamawire knows, instead of refusing them",
    )
    parser.add_argument(
        "--log-level",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
        default="INFO",
        help="how much is logged to standard error (default: %(default)s)",
    )


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"'{text}' is no file")
    return path


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"'{text}' is no folder")
    return path


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name.strip() or not path:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=PATH")
    return name, Path(path)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
