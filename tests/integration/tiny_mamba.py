"""A small model whose memory can't be cut: what it remembers is that of all tokens together."""

from __future__ import annotations

from pathlib import Path

import numpy
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from gguf.constants import Keys

_WIDTH, _INNER_WIDTH, _STATE, _CONVOLUTION, _RANK, _LAYERS = 64, 128, 16, 4, 8, 2


def write_tiny_mamba(path: Path, source: Path) -> None:
    """Write a Mamba of random numbers, with the vocabulary and the chat template of the GGUF at `source`."""
    reader = GGUFReader(source)
    writer = GGUFWriter(path, "mamba")
    writer.add_name("tiny mamba")
    writer.add_context_length(2048)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(_LAYERS)
    writer.add_ssm_conv_kernel(_CONVOLUTION)
    writer.add_ssm_inner_size(_INNER_WIDTH)
    writer.add_ssm_state_size(_STATE)
    writer.add_ssm_time_step_rank(_RANK)
    writer.add_layer_norm_rms_eps(1e-5)
    for field in reader.fields.values():
        if field.name.startswith("tokenizer."):
            is_list = field.types[0] == GGUFValueType.ARRAY
            writer.add_key_value(
                field.name, field.contents(), field.types[0], field.types[-1] if is_list else None
            )
    num_tokens = len(reader.fields[Keys.Tokenizer.LIST].contents())
    random = numpy.random.default_rng(0)

    def add(name: str, *shape: int, scale: float = 1.0) -> None:
        writer.add_tensor(name, (scale * random.standard_normal(shape)).astype(numpy.float32))

    add("token_embd.weight", num_tokens, _WIDTH)
    add("output.weight", num_tokens, _WIDTH)
    writer.add_tensor("output_norm.weight", numpy.ones(_WIDTH, numpy.float32))
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        writer.add_tensor(f"{block}.attn_norm.weight", numpy.ones(_WIDTH, numpy.float32))
        add(f"{block}.ssm_in.weight", 2 * _INNER_WIDTH, _WIDTH, scale=_WIDTH**-0.5)
        add(f"{block}.ssm_conv1d.weight", _INNER_WIDTH, _CONVOLUTION, scale=0.5)
        add(f"{block}.ssm_conv1d.bias", _INNER_WIDTH, scale=0.1)
        add(f"{block}.ssm_x.weight", _RANK + 2 * _STATE, _INNER_WIDTH, scale=_INNER_WIDTH**-0.5)
        add(f"{block}.ssm_dt.weight", _INNER_WIDTH, _RANK, scale=_RANK**-0.5)
        add(f"{block}.ssm_dt.bias", _INNER_WIDTH, scale=0.1)
        # States fade slowly, so that early tokens matter to the last ones.
        decay = -numpy.tile(numpy.arange(1, _STATE + 1, dtype=numpy.float32) / 50, (_INNER_WIDTH, 1))
        writer.add_tensor(f"{block}.ssm_a", decay)
        add(f"{block}.ssm_d", _INNER_WIDTH)
        add(f"{block}.ssm_out.weight", _WIDTH, _INNER_WIDTH, scale=_INNER_WIDTH**-0.5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
