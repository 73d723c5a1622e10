"""llama.cpp's own quantiser, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

QUANTIZE = """
import ctypes, os, sys
import llama_cpp

parameters = llama_cpp.llama_model_quantize_default_params()
parameters.nthread = 1
parameters.allow_requantize = True
parameters.ftype = getattr(llama_cpp, sys.argv[3])
source, target = map(os.fsencode, sys.argv[1:3])
sys.exit(llama_cpp.llama_model_quantize(source, target, ctypes.byref(parameters)))
"""


def quantize(source: Path, target: Path, kind: str) -> Path:
    """Write a model's file anew in another kind of quantisation: a second real file. Gives its path."""
    command = [sys.executable, "-c", QUANTIZE, str(source), str(target), f"LLAMA_FTYPE_MOSTLY_{kind}"]
    subprocess.run(command, check=True, capture_output=True)
    return target
