"""Loads a model and decodes a few tokens, to learn whether this build of llama.cpp works on this machine.

    python -m llamawire_server.engine.probe MODEL_PATH

Run in a process of its own, because a build for another CPU dies of a signal. Standard output has one JSON
object a line, by `event`: `library`, as soon as llama.cpp is loaded, then `decoded` or `failed`. The exit
status is 0 only after `decoded`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

PROMPT = b"The capital of France is"
NUM_TOKENS = 8
CONTEXT_LENGTH = 256


class ProbeError(Exception):
    """A step of the probe failed; `stage` is which one."""

    def __init__(self, stage: str, detail: str) -> None:
        super().__init__(detail)
        self.stage = stage


def tell(event: str, **details: object) -> None:
    """Write one line, at once: the next step may be the process's last."""
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()


def load_library() -> Any:
    """llama_cpp, whose import is the first thing that can go wrong. Raises ProbeError."""
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError is llama_cpp's for a missing library
        raise ProbeError("import", str(error)) from error
    return llama_cpp


def decode(llama_cpp: Any, model_path: Path) -> tuple[int, str]:
    """How many tokens were computed, and the model's greedy continuation of the prompt; of an encoder, which has
    none, what became of the prompt. Raises ProbeError."""
    import numpy as np

    model = llama_cpp.llama_model_load_from_file(
        str(model_path).encode(), llama_cpp.llama_model_default_params()
    )
    if not model:
        raise ProbeError("load", f"llama.cpp could not load {model_path}")
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = CONTEXT_LENGTH
    # One thread: ggml's wait for each other spinning, and on a busy machine several take minutes for this.
    parameters.n_threads = parameters.n_threads_batch = 1
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        raise ProbeError("context", "llama.cpp could not create a context")
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    vocabulary_size = llama_cpp.llama_vocab_n_tokens(vocabulary)

    prompt = (llama_cpp.llama_token * CONTEXT_LENGTH)()
    num_tokens = llama_cpp.llama_tokenize(
        vocabulary, PROMPT, len(PROMPT), prompt, CONTEXT_LENGTH, True, False
    )
    if num_tokens < 1:
        raise ProbeError("tokenize", "the model's vocabulary gives no tokens for plain text")
    is_encoder = not (llama_cpp.llama_get_memory(context) and llama_cpp.llama_get_causal_attn(context))
    if is_encoder:
        llama_cpp.llama_free(context)
        return num_tokens, _embed(llama_cpp, model, parameters, prompt, num_tokens)

    # The prompt goes in as one batch, the answer token by token: llama.cpp computes the two differently.
    batch, size = prompt, num_tokens
    answer = b""
    piece = ctypes.create_string_buffer(256)
    for _ in range(NUM_TOKENS):
        status = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(batch, size))
        if status != 0:
            raise ProbeError("decode", f"llama_decode gave {status}")
        pointer = llama_cpp.llama_get_logits_ith(context, -1)
        if not pointer:
            raise ProbeError("decode", "the model gives no logits")
        logits = np.ctypeslib.as_array(pointer, (vocabulary_size,))
        if not np.isfinite(logits).all():
            raise ProbeError("logits", "the logits are not finite")
        token = int(logits.argmax())
        length = llama_cpp.llama_token_to_piece(vocabulary, token, piece, len(piece), 0, True)
        answer += piece.raw[: max(0, length)]
        batch, size = (llama_cpp.llama_token * 1)(token), 1
    return NUM_TOKENS, answer.decode("utf-8", "replace")


def _embed(llama_cpp: Any, model: Any, parameters: Any, prompt: Any, num_tokens: int) -> str:
    """Compute the prompt's vectors. Raises ProbeError."""
    import numpy as np

    parameters.embeddings = True
    parameters.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        raise ProbeError("context", "llama.cpp could not create a context for embeddings")
    compute = llama_cpp.llama_decode if llama_cpp.llama_model_has_decoder(model) else llama_cpp.llama_encode
    status = compute(context, llama_cpp.llama_batch_get_one(prompt, num_tokens))
    if status != 0:
        raise ProbeError("decode", f"llama.cpp gave {status}")
    pointer = llama_cpp.llama_get_embeddings(context)
    if not pointer:
        raise ProbeError("decode", "the model gives no embeddings")
    width = llama_cpp.llama_model_n_embd_out(model)
    if not np.isfinite(np.ctypeslib.as_array(pointer, (num_tokens, width))).all():
        raise ProbeError("logits", "the embeddings are not finite")
    return f"vectors of {width} numbers"


def main() -> int:
    """Run the probe. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m llamawire_server.engine.probe")
    parser.add_argument("model", type=Path)
    arguments = parser.parse_args()

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        llama_cpp = load_library()
        llama_cpp.llama_backend_init()
        tell("library", system_info=llama_cpp.llama_print_system_info().decode("utf-8", "replace"))
        start = time.monotonic()
        num_tokens, text = decode(llama_cpp, arguments.model)
        tell("decoded", num_tokens=num_tokens, text=text, seconds=round(time.monotonic() - start, 3))
    except ProbeError as error:
        tell("failed", stage=error.stage, detail=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
