"""A model that costs nothing to compute, with SmolLM2's vocabulary: what is left is the service.

It has one narrow layer of random numbers, but every token's text, the chat template and the sampling over 49,152
tokens are real. Only plain words have a chance to be generated, no control tokens and no parts of characters: so
every answer goes on to its limit, and every token has text to be sent.
"""

from __future__ import annotations

from pathlib import Path

import numpy
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.constants import Keys
from gguf.quants import quantize

CONTEXT_TOKENS = 4096
_WIDTH, _INNER_WIDTH, _HEADS = 64, 128, 2
_COPIED = ("tokenizer.",)


def write_tiny_model(path: Path, source: Path, num_idle_layers: int = 0) -> None:
    """Write it, with the vocabulary of the GGUF at `source`.

    num_idle_layers: layers that take time and add nothing: with any number of them, the model says the same.
    """
    reader = GGUFReader(source)
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_INNER_WIDTH)
    writer.add_block_count(1 + num_idle_layers)
    writer.add_head_count(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    for field in reader.fields.values():
        if field.name.startswith(_COPIED):
            is_list = field.types[0] == GGUFValueType.ARRAY
            writer.add_key_value(
                field.name, field.contents(), field.types[0], field.types[-1] if is_list else None
            )
    tokens = reader.fields[Keys.Tokenizer.LIST].contents()
    random = numpy.random.default_rng(0)
    output = random.standard_normal((len(tokens), _WIDTH), dtype=numpy.float32)
    # A logit of 0 is never the largest of so many.
    output[[not _is_plain_word(token) for token in tokens]] = 0
    shapes = {
        "token_embd": (len(tokens), _WIDTH),
        **{f"blk.0.attn_{name}": (_WIDTH, _WIDTH) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}": (_INNER_WIDTH, _WIDTH) for name in ("gate", "up")},
        "blk.0.ffn_down": (_WIDTH, _INNER_WIDTH),
    }
    tensors = {name: random.standard_normal(shape, dtype=numpy.float32) for name, shape in shapes.items()}
    kind = GGMLQuantizationType.Q8_0
    for name, values in {**tensors, "output": output}.items():
        writer.add_tensor(f"{name}.weight", quantize(values, kind), raw_dtype=kind)
    for layer in range(1, 1 + num_idle_layers):
        for name, values in tensors.items():
            if name.startswith("blk.0."):
                # What these give is what is added to the text so far.
                adds = name in ("blk.0.attn_output", "blk.0.ffn_down")
                part = quantize(numpy.zeros_like(values) if adds else values, kind)
                writer.add_tensor(f"{name.replace('0', str(layer), 1)}.weight", part, raw_dtype=kind)
    norms = [f"blk.{layer}.{part}_norm" for layer in range(1 + num_idle_layers) for part in ("attn", "ffn")]
    for name in ("output_norm", *norms):
        writer.add_tensor(f"{name}.weight", numpy.ones(_WIDTH, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _is_plain_word(token: str) -> bool:
    """Whether a token of a byte-level vocabulary is a word of Latin letters; the vocabulary writes a blank as Ġ."""
    word = token.removeprefix("Ġ")
    return word.isascii() and word.isalpha()
