"""Generate the Python stubs from proto/, or check that the committed ones are current.

python scripts/stubs.py          writes client/llamawire/v1/
python scripts/stubs.py --check  exits 1, naming the files, where what is committed differs
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

REPOSITORY = Path(__file__).resolve().parent.parent
PROTO = REPOSITORY / "proto"
CLIENT = REPOSITORY / "client"
PACKAGE = Path("llamawire/v1")


def generate(into: Path) -> None:
    """Write the stubs of every .proto below `into`, in the layout of the import package."""
    # protoc finds its plug-ins on PATH only; mypy-protobuf's are beside the interpreter that runs this.
    plugins = Path(sys.executable).parent
    arguments = [
        "protoc",
        f"-I{PROTO}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        f"--python_out={into}",
        f"--grpc_python_out={into}",
        f"--mypy_out=quiet:{into}",
        f"--mypy_grpc_out=quiet:{into}",
        *sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto")),
    ]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed")
    for stub in (into / PACKAGE).glob("*_pb2_grpc.py*"):
        if "ServiceStub" not in stub.read_text():
            stub.unlink()  # protoc writes an empty one for a file without a service


def stale(fresh: Path) -> list[str]:
    """Names of the stubs that differ from freshly generated ones, missing and superfluous ones included."""

    def contents(root: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (root / PACKAGE).glob("*_pb2*.py*")}

    committed, current = contents(CLIENT), contents(fresh)
    return sorted(
        name for name in committed.keys() | current.keys() if committed.get(name) != current.get(name)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    if not parser.parse_args().check:
        for old in (CLIENT / PACKAGE).glob("*_pb2*.py*"):
            old.unlink()
        generate(CLIENT)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        names = stale(Path(folder))
    if names:
        sys.exit(f"stubs are not current, run `make stubs`: {', '.join(names)}")
    print("stubs are current")


if __name__ == "__main__":
    main()
