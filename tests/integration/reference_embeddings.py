"""llama-cpp-python's own embeddings of texts, in a process of their own, to compare with.

    python reference_embeddings.py MODEL POOLING < texts as a JSON array > vectors as JSON

POOLING is a number of llama.h's enum llama_pooling_type.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float64]


def reference(model: Path, pooling: int, texts: list[str]) -> Vectors:
    """The texts' vectors of length 1, a row each, every text computed by itself."""
    command = [sys.executable, __file__, str(model), str(pooling)]
    child = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True)
    return np.array(json.loads(child.stdout))


def main() -> None:
    from llama_cpp import Llama

    model = Llama(
        sys.argv[1],
        embedding=True,
        pooling_type=int(sys.argv[2]),
        n_ctx=1024,
        n_batch=1024,
        n_ubatch=1024,
        n_threads=1,
        n_threads_batch=1,
        flash_attn=True,  # as llama.cpp itself chooses where it can
        verbose=False,
    )
    vectors = [model.embed(text, normalize=True) for text in json.load(sys.stdin)]
    json.dump(vectors, sys.stdout)


if __name__ == "__main__":
    main()
