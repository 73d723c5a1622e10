"""How large the parts of a model are that take memory, from the keys and tensors of its GGUF file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llamawire_server.gguf.header import Header

# llama.cpp takes no more.
_MAX_LAYERS = 512


@dataclass(frozen=True)
class ModelShape:
    """Numbers of elements. 0 where the file doesn't say."""

    embedding_length: int = 0
    """Of a token between two layers."""

    attention_width: int = 0
    """Of a token's queries: all heads of the layer that has most."""

    feed_forward_width: int = 0
    """Of a token inside of the widest layer; of all experts that work on it."""

    cache_elements: int = 0
    """Keys and values that are kept of each token, in all layers together."""

    state_elements: int = 0
    """What recurrent layers keep of each sequence, however long it is, all together."""

    num_windowed_masks: int = 0
    """1 where some layers look back only so far, and have an attention mask of their own."""


def read_shape(parts: Sequence[Header], architecture: str) -> ModelShape:
    """What the header says; nonsense in it gives nonsense, but no error."""
    reader = _ShapeReader(parts, architecture)
    return ModelShape(
        embedding_length=reader.size("embedding_length"),
        attention_width=reader.attention_width(),
        feed_forward_width=reader.feed_forward_width(),
        cache_elements=reader.cache_elements(),
        state_elements=reader.state_elements(),
        num_windowed_masks=int(reader.size("attention.sliding_window") > 0),
    )


class _ShapeReader:
    def __init__(self, parts: Sequence[Header], architecture: str) -> None:
        self._header = parts[0]
        self._architecture = architecture
        self._key_layers = frozenset[int]().union(*(part.key_layers for part in parts))
        self._state_layers = frozenset[int]().union(*(part.state_layers for part in parts))
        num_layers = min(self.size("block_count"), _MAX_LAYERS)
        # The last ones of some models guess tokens ahead, which is not made use of: they keep nothing.
        num_guessing = self.size("nextn_predict_layers")
        self._num_layers = num_layers - num_guessing if num_guessing < num_layers else num_layers
        self._heads = self._sizes("attention.head_count")
        self._kv_heads = self._sizes("attention.head_count_kv") or self._heads
        self._most_heads = max(self._heads, default=0)
        head_length = self.size("embedding_length") // self._most_heads if self._most_heads else 0
        self._key_length = self.size("attention.key_length", head_length)
        self._value_length = self.size("attention.value_length", head_length)
        self._is_compressed = bool(
            self.size("attention.key_length_mla") and self.size("attention.value_length_mla")
        )
        self._is_windowed = self._sizes("attention.sliding_window_pattern")

    def size(self, name: str, absent: int = 0) -> int:
        return self._header.size(f"{self._architecture}.{name}", absent)

    def attention_width(self) -> int:
        return self._most_heads * max(self._key_length, self._value_length)

    def feed_forward_width(self) -> int:
        dense = self.size("feed_forward_length")
        each_expert = max(self.size("expert_feed_forward_length", dense), self.size("embedding_length"))
        return max(dense, self.size("expert_used_count") * each_expert, self.size("ssm.inner_size"))

    def cache_elements(self) -> int:
        # Layers that share the keys and values of others come last.
        num_layers = max(0, self._num_layers - self.size("attention.shared_kv_layers"))
        indexer_length = self.size("attention.indexer.key_length")
        total = 0
        for layer in range(num_layers):
            if layer in self._key_layers or layer not in self._state_layers:
                total += _of_layer(self._kv_heads, layer) * self._head_elements(layer) + indexer_length
        return total

    def _head_elements(self, layer: int) -> int:
        """Elements of one head's key and value. Windowed layers may have heads of another size."""
        full = self._key_length + self._value_length
        if self._is_compressed:
            return self._key_length  # compressed: values are computed from what is kept of the keys
        windowed = self.size("attention.key_length_swa", self._key_length)
        windowed += self.size("attention.value_length_swa", self._value_length)
        if len(self._is_windowed) <= 1:  # which ones are is not told
            return max(full, windowed)
        return windowed if _of_layer(self._is_windowed, layer) else full

    def state_elements(self) -> int:
        num_layers = sum(layer < self._num_layers for layer in self._state_layers)
        return num_layers * self._layer_state_elements()

    def _layer_state_elements(self) -> int:
        """As llama.cpp's llama_hparams::n_embd_r and n_embd_s have it."""
        embedding = self.size("embedding_length")
        if wkv_head := self.size("wkv.head_size"):
            return embedding * (self.size("token_shift_count", 2) + wkv_head)
        if shortconv := self.size("shortconv.l_cache"):
            return embedding * (shortconv - 1)
        convolution = max(0, self.size("ssm.conv_kernel") - 1)
        if delta_head := self.size("kda.head_dim"):
            return self._most_heads * delta_head * (3 * convolution + delta_head)
        inner, state = self.size("ssm.inner_size"), self.size("ssm.state_size")
        return convolution * (inner + 2 * self.size("ssm.group_count") * state) + state * inner

    def _sizes(self, name: str) -> tuple[int, ...]:
        return self._header.sizes(f"{self._architecture}.{name}")


def _of_layer(sizes: tuple[int, ...], layer: int) -> int:
    """A layer's own size, where each has one; else the one that all have."""
    if not sizes:
        return 0
    return sizes[layer] if layer < len(sizes) else sizes[-1]
