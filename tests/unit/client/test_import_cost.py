"""What `import llamawire` brings along."""

from __future__ import annotations

import json
import subprocess
import sys


def test_importing_the_client_brings_neither_rich_nor_the_server():
    script = "import json, sys, llamawire, llamawire.cli; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    packages = {name.partition(".")[0] for name in json.loads(run.stdout)}

    assert "grpc" in packages
    assert packages.isdisjoint(
        {"rich", "llamawire_server", "llama_cpp", "numpy", "fastapi", "pydantic", "msgspec"}
    )


def test_everything_that_is_public_is_there():
    import llamawire

    for name in llamawire.__all__:
        assert getattr(llamawire, name).__module__.startswith("llamawire"), name
