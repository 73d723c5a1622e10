"""Three models that differ: the bundled one, the same quantised otherwise, and a tiny one of random weights."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from quantizer import quantize

TEMPLATE = "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}{% endfor %}"

# Small enough to decode thousands of tokens in a second.
WIDTH = 64
FEED_FORWARD_WIDTH = 128
NUM_HEADS = 4
NUM_LAYERS = 2
CONTEXT_LENGTH = 2048
# How much of what follows a token is fixed, so that the likeliest token is far ahead of the next one; the rest comes
# of all that was said before.
HABIT = 0.5

MODELS = ("bundled", "tiny", "requantised")

# What the vocabulary has beside single bytes. Characters of several bytes are spelt in bytes.
WORDS = [f"▁{first}{second}" for first in "bdfglmnprst" for second in ("a", "e", "o", "ar", "en", "ol", "um")]


@dataclass(frozen=True)
class ModelFile:
    """A model under the name that requests give it."""

    name: str
    path: Path


def write_tiny_model(target: Path, seed: int = 1) -> None:
    """Write a llama of random weights whose answers are nonsense, and the same nonsense every time."""
    random = np.random.default_rng(seed)
    tokens, kinds = _vocabulary()
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name("Tiny")
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(NUM_LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD_WIDTH)
    writer.add_head_count(NUM_HEADS)
    writer.add_head_count_kv(NUM_HEADS)
    writer.add_rope_dimension_count(WIDTH // NUM_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(place) for place in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)

    def add(name: str, *shape: int, scale: float = 1.0) -> None:
        weights = random.standard_normal(shape) * scale / np.sqrt(shape[-1])
        writer.add_tensor(name, weights.astype(np.float32))

    def add_norm(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, np.float32))

    embeddings = random.standard_normal((len(tokens), WIDTH)).astype(np.float32)
    followers = random.standard_normal((len(tokens), WIDTH)).astype(np.float32)
    habits = embeddings[random.permutation(len(tokens))]
    writer.add_tensor("token_embd.weight", embeddings)
    writer.add_tensor("output.weight", HABIT * habits + (1 - HABIT) * followers)
    add_norm("output_norm.weight")
    for layer in range(NUM_LAYERS):
        add_norm(f"blk.{layer}.attn_norm.weight")
        add_norm(f"blk.{layer}.ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{part}.weight", WIDTH, WIDTH)
        for part in ("ffn_gate", "ffn_up"):
            add(f"blk.{layer}.{part}.weight", FEED_FORWARD_WIDTH, WIDTH)
        add(f"blk.{layer}.ffn_down.weight", WIDTH, FEED_FORWARD_WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary() -> tuple[list[str], list[gguf.TokenType]]:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * len(WORDS)
    return tokens, kinds


def make_model_files(folder: Path, bundled: Path, count: int = 3) -> list[ModelFile]:
    """The files of the first `count` models, in `folder`: copies, since they are going to be replaced."""
    files = [ModelFile(name, folder / f"{name}.gguf") for name in MODELS[:count]]
    for file in files:
        if file.name == "bundled":
            shutil.copyfile(bundled, file.path)
        elif file.name == "tiny":
            write_tiny_model(file.path)
        else:
            quantize(bundled, file.path, "Q8_0")
    return files
