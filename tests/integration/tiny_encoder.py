"""A small BERT of random numbers: an encoder, whose tokens all see each other."""

from __future__ import annotations

import string
from pathlib import Path

import numpy
from gguf import GGUFWriter, PoolingType

CONTEXT_LENGTH, WIDTH = 64, 32
_FEED_FORWARD_WIDTH, _LAYERS, _HEADS, _TEXT_TYPES = 64, 2, 4, 2

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS = ("fox", "dog", "sky", "blue", "the", "is", "jumps")
_CONTROL, _NORMAL = 3, 1


def tokens() -> list[str]:
    """WordPiece as GGUF files have it: what begins a word has a mark, what goes on with one has none."""
    letters = string.ascii_lowercase + string.digits + ".,!?"
    return [*_SPECIAL, *(f"\u2581{text}" for text in (*_WORDS, *letters)), *letters]


def write_encoder(path: Path, pooling: PoolingType | None) -> None:
    """Write it. pooling: what its file says of it; None: nothing."""
    random = numpy.random.default_rng(0)
    vocabulary = tokens()
    writer = GGUFWriter(path, "bert")
    writer.add_name("tiny encoder")
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(_FEED_FORWARD_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_head_count(_HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(vocabulary)
    writer.add_token_types([_CONTROL] * len(_SPECIAL) + [_NORMAL] * (len(vocabulary) - len(_SPECIAL)))
    writer.add_token_type_count(_TEXT_TYPES)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)

    def add(name: str, *shape: int, scale: float = 1.0) -> None:
        values = scale * random.standard_normal(shape)
        writer.add_tensor(name, values.astype(numpy.float32))

    def add_norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", numpy.ones(WIDTH, numpy.float32))
        add(f"{name}.bias", WIDTH, scale=0.1)

    add("token_embd.weight", len(vocabulary), WIDTH)
    add("token_types.weight", _TEXT_TYPES, WIDTH)
    add("position_embd.weight", CONTEXT_LENGTH, WIDTH, scale=0.5)
    add_norm("token_embd_norm")
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        for name in ("q", "k", "v", "output"):
            add(f"{block}.attn_{name}.weight", WIDTH, WIDTH, scale=2 * WIDTH**-0.5)
            add(f"{block}.attn_{name}.bias", WIDTH, scale=0.1)
        add_norm(f"{block}.attn_output_norm")
        add(f"{block}.ffn_up.weight", _FEED_FORWARD_WIDTH, WIDTH, scale=WIDTH**-0.5)
        add(f"{block}.ffn_up.bias", _FEED_FORWARD_WIDTH, scale=0.1)
        add(f"{block}.ffn_down.weight", WIDTH, _FEED_FORWARD_WIDTH, scale=_FEED_FORWARD_WIDTH**-0.5)
        add(f"{block}.ffn_down.bias", WIDTH, scale=0.1)
        add_norm(f"{block}.layer_output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
