"""Who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import llamawire
import llamawire_server

PACKAGES = {
    "llamawire": Path(llamawire.__file__).parent,
    "llamawire_server": Path(llamawire_server.__file__).parent,
}

BELOW_THE_SERVICE = ("engine", "chat", "worker", "gguf", "models", "pool")
ABOVE_THE_POOL = ("service", "rpc", "shim", "configuration", "app", "cli")

# What each part of the server must not know, nor anything below it. A part that is not here may import any other.
FORBIDDEN = {
    # Text and tokens without requests, transports or processes.
    "engine": ("chat", "worker", "gguf", "models", "pool", *ABOVE_THE_POOL),
    "chat": ("engine", "worker", "gguf", "models", "pool", *ABOVE_THE_POOL),
    # A worker does what it is told over its socket.
    "worker": ("gguf", "models", "pool", *ABOVE_THE_POOL),
    # Files and their names, whoever loads them.
    "gguf": ("engine", "chat", "worker", "models", "pool", *ABOVE_THE_POOL),
    "models": ("engine", "chat", "worker", "pool", *ABOVE_THE_POOL),
    "pool": ABOVE_THE_POOL,
    # What the server can do has no transport.
    "service": ("rpc", "shim", "configuration", "app", "cli"),
    # Two transports over one interface.
    "rpc": ("shim", *BELOW_THE_SERVICE, "configuration", "app", "cli"),
    "shim": ("rpc", *BELOW_THE_SERVICE, "configuration", "app", "cli"),
    "errors": (*BELOW_THE_SERVICE, *ABOVE_THE_POOL),
    # What the server is told is told to its parts in small values, which know neither files nor variables.
    "configuration": (*BELOW_THE_SERVICE, "service", "rpc", "shim", "app", "cli"),
    "config": (*BELOW_THE_SERVICE, *ABOVE_THE_POOL),
}
# Of the interface's package, the transports know the interface and not what is behind it.
INTERFACE = "llamawire_server.service.interface"
# But for the limits that a request can be held to before it is translated.
LIMITS = "llamawire_server.service.validation"


def modules(package: str) -> dict[str, Path]:
    """The modules of a package, by name."""
    folder = PACKAGES[package]
    found = {}
    for path in folder.rglob("*.py"):
        parts = [package, *path.relative_to(folder).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, path: Path) -> Iterator[str]:
    """Every module that a module imports, wherever in its code; for `from a import b`, both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports from {node.module}, by a relative name"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (
                a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
            )


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


SERVER = modules("llamawire_server")
CLIENT = modules("llamawire")
IMPORTS = {name: set(imports(name, path)) for name, path in {**SERVER, **CLIENT}.items()}


def test_the_rules_are_about_what_is_there() -> None:
    parts = {name.split(".")[1] for name in SERVER if "." in name}
    known = set(FORBIDDEN) | {part for forbidden in FORBIDDEN.values() for part in forbidden}
    assert known <= parts
    assert INTERFACE in SERVER
    assert "llamawire.client" in CLIENT


def test_llama_cpp_is_imported_by_the_runner_and_the_probe_only() -> None:
    importers = {name for name, found in IMPORTS.items() if any(is_in(other, "llama_cpp") for other in found)}
    allowed = {name for name in importers if is_in(name, "llamawire_server.engine.runner")}
    assert importers - allowed <= {"llamawire_server.engine.probe"}
    assert allowed, "the runner does"


def test_llguidance_is_imported_where_a_grammar_is_read_and_where_it_meets_the_tokens() -> None:
    importers = {
        name for name, found in IMPORTS.items() if any(is_in(other, "llguidance") for other in found)
    }
    readers = {name for name in importers if is_in(name, "llamawire_server.chat")}
    assert readers == {"llamawire_server.chat.grammar"}
    assert all(is_in(name, "llamawire_server.engine.runner") for name in importers - readers)
    for name in readers:
        assert not [
            other for other in IMPORTS[name] if other.endswith("LLTokenizer") or "llguidance.llama" in other
        ]


def test_reading_the_types_of_a_grammar_loads_no_compiler() -> None:
    tree = ast.parse(SERVER["llamawire_server.chat.grammar"].read_text())
    at_the_top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("llguidance" in ast.unparse(node) for node in at_the_top), "the server reads them, too"


def test_the_client_never_imports_the_server() -> None:
    for name in CLIENT:
        assert not [other for other in IMPORTS[name] if is_in(other, "llamawire_server")], name


def test_the_server_takes_nothing_from_the_client_but_its_stubs() -> None:
    for name in SERVER:
        taken = {other for other in IMPORTS[name] if is_in(other, "llamawire") and other != "llamawire.v1"}
        assert all(is_in(other, "llamawire.v1") for other in taken), name


@pytest.mark.parametrize("part", FORBIDDEN)
def test_no_part_knows_what_is_above_it(part: str) -> None:
    package = f"llamawire_server.{part}"
    importers = [name for name in SERVER if is_in(name, package)]
    assert importers
    for name in importers:
        for forbidden in FORBIDDEN[part]:
            bad = [other for other in IMPORTS[name] if is_in(other, f"llamawire_server.{forbidden}")]
            assert not bad, f"{name} imports {bad}"


@pytest.mark.parametrize("part", ["rpc", "shim"])
def test_a_transport_knows_the_service_by_its_interface_only(part: str) -> None:
    for name in SERVER:
        if is_in(name, f"llamawire_server.{part}"):
            known = {other for other in IMPORTS[name] if is_in(other, "llamawire_server.service")}
            limits = {other for other in known if other == LIMITS or other.startswith(f"{LIMITS}.MAX_")}
            assert all(is_in(other, INTERFACE) for other in known - limits), f"{name} imports {known}"


def test_the_two_sides_of_a_worker_know_nothing_of_each_other() -> None:
    parent, child = "llamawire_server.worker.parent", "llamawire_server.worker.child"
    crossing = {name for name in SERVER if is_in(name, "llamawire_server.worker") and not is_in(name, parent)}
    for name, found in IMPORTS.items():
        if not is_in(name, child):
            assert not [other for other in found if is_in(other, child)], name
        if name in crossing:
            assert not [other for other in found if is_in(other, parent)], name


def test_a_module_is_called_by_what_it_holds() -> None:
    parts = {part for name in (*SERVER, *CLIENT) for part in name.split(".")}
    assert not {"utils", "util", "manager", "helpers", "misc"} & parts


def test_the_pure_parts_do_no_input_or_output() -> None:
    pure = (
        "engine.scheduler",
        "engine.sequence",
        "engine.prefill",
        "engine.budget",
        "engine.drafting.speculation",
        "engine.prefixes.tree",
        "chat.stop",
        "chat.pipeline",
    )
    for name in (f"llamawire_server.{part}" for part in pure):
        roots = {other.split(".")[0] for other in IMPORTS[name]}
        assert not roots & {"asyncio", "socket", "os", "subprocess", "threading", "grpc", "time"}, name
