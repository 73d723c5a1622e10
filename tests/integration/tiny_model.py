"""A very small model, for what is not about what models say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy
from gguf import GGUFWriter


def write_tiny_model(
    path: Path, architecture: str = "llama", num_bytes: int = 256, markers: Sequence[str] = ()
) -> None:
    """A model of random numbers, whose tokens are the bytes, and which loads in no time. markers: control tokens that
    it has besides."""
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(num_bytes))]
    tokens += [marker.encode() for marker in markers]
    width, inner_width = 32, 64
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner_width)
    writer.add_block_count(1)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([2, 3, 3] + [6] * num_bytes + [3] * len(markers))
    shapes = {
        "token_embd": (len(tokens), width),
        "output": (len(tokens), width),
        "output_norm": (width,),
        **{f"blk.0.{name}_norm": (width,) for name in ("attn", "ffn")},
        **{f"blk.0.attn_{name}": (width, width) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}": (inner_width, width) for name in ("gate", "up")},
        "blk.0.ffn_down": (width, inner_width),
    }
    random = numpy.random.default_rng(0)
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
