"""What a model is said to take of memory, and what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from quantizer import quantize

from llamawire_server.config import ModelSettings
from llamawire_server.gguf.metadata import read_gguf
from llamawire_server.pool.memory import estimate_memory

# Loads a model as a worker does, computes one batch, and tells what is resident before and after the batch.
LOAD = """
import json, sys
from pathlib import Path
import llama_cpp
import llamawire_server.worker.child.__main__
from llamawire_server.config import ModelSettings
from llamawire_server.engine.runner.model import EngineLog, LoadedModel
from llamawire_server.machine import resident_bytes

settings = ModelSettings(**json.loads(sys.argv[2]))
model = LoadedModel(Path(sys.argv[1]), settings, EngineLog(lambda *_: None), lambda _: True)
resident = [resident_bytes()]
tokens = (llama_cpp.llama_token * model.limits.batch_tokens)(*range(model.limits.batch_tokens))
batch = llama_cpp.llama_batch_get_one(tokens, len(tokens))
assert llama_cpp.llama_decode(model.context, batch) == 0
print(json.dumps([*resident, resident_bytes()]))
"""


def measure(path: Path, settings: dict[str, int]) -> tuple[int, int]:
    """Bytes that are resident once the model is loaded, and once it has computed a whole batch."""
    child = subprocess.run(
        [sys.executable, "-c", LOAD, str(path), json.dumps(settings)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    loaded, busy = json.loads(child.stdout.splitlines()[-1])
    return loaded, busy


@pytest.fixture(scope="session")
def repacked_file(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model in a kind of quantization that llama.cpp repacks as it loads it, on most processors."""
    return quantize(model_file, tmp_path_factory.mktemp("repacked") / "q4_0.gguf", "Q4_0")


@pytest.mark.parametrize(
    "settings",
    [
        {"parallel": 1, "context_length": 512},
        {"parallel": 8, "context_length": 8192},
        {"parallel": 64, "context_length": 512, "kv_cache_tokens": 4096},
    ],
    ids=str,
)
def test_the_estimate_is_near_what_is_resident(model_file: Path, settings: dict[str, int]) -> None:
    settings = {**settings, "threads": 1}
    estimate = estimate_memory(read_gguf(model_file), ModelSettings(**settings))
    loaded, busy = measure(model_file, settings)
    assert 0.9 < estimate / busy < 1.25, (estimate, loaded, busy)
    assert 0.9 < estimate / loaded < 1.4, (estimate, loaded, busy)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not tell what is mapped")
def test_weights_that_are_repacked_do_not_count_twice(repacked_file: Path) -> None:
    settings = {"parallel": 1, "context_length": 512, "threads": 1}
    metadata = read_gguf(repacked_file)
    estimate = estimate_memory(metadata, ModelSettings(**settings))
    _, busy = measure(repacked_file, settings)
    assert abs(estimate - busy) < 0.25 * metadata.weights_bytes, (estimate, busy)
