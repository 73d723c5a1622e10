"""What a model will take of main memory, told before it is loaded."""

from __future__ import annotations

import dataclasses

from llamawire_server.config import ModelSettings
from llamawire_server.engine.context_size import context_limits
from llamawire_server.engine.step import Limits
from llamawire_server.gguf.metadata import GGUFMetadata

_F16_BYTES = 2
_F32_BYTES = 4

# llama.cpp makes KV caches of whole blocks of so many tokens.
_KV_BLOCK_TOKENS = 256

# Measured: a worker without a model's weights, and what llama.cpp's vocabularies take for a token.
_PROCESS_BYTES = 56 * 1024**2
_VOCABULARY_TOKEN_BYTES = 400

# Measured: buffers that are in use at a time while a step is computed: between two layers, for queries, in a layer.
_EMBEDDING_BUFFERS = 4
_ATTENTION_BUFFERS = 2
_FEED_FORWARD_BUFFERS = 3

# More than any machine has, and small enough for sums of several to be sent: what a nonsensical header comes to.
_MOST_BYTES = 2**60


def estimate_memory(
    metadata: GGUFMetadata, settings: ModelSettings, draft: GGUFMetadata | None = None
) -> int:
    """Bytes of main memory that a worker with this model holds when it is busy.

    All of it is taken to be in main memory: what a GPU would take of it is known only once the model is loaded. What
    a model that generates takes for embeddings is not part of it: room for them is made when the first are asked for.
    draft: of the model that guesses for this one.
    """
    limits = context_limits(
        settings,
        metadata.training_context_length,
        is_recurrent=metadata.shape.state_elements > 0,
        is_windowed=metadata.shape.num_windowed_masks > 0,
        is_encoder=metadata.is_encoder,
    )
    if metadata.is_encoder:  # it keeps nothing of what it computed
        shape = dataclasses.replace(metadata.shape, cache_elements=0, state_elements=0)
        metadata = dataclasses.replace(metadata, shape=shape)
    total_bytes = _PROCESS_BYTES + _model_bytes(metadata, limits)
    if draft is not None and limits.can_cut:
        total_bytes += _model_bytes(draft, dataclasses.replace(limits, num_cache_slots=0, shelf_tokens=0))
    return min(total_bytes, _MOST_BYTES)


def _model_bytes(metadata: GGUFMetadata, limits: Limits) -> int:
    """A model's weights, its KV cache, and what its steps take."""
    shape = metadata.shape
    cache_tokens = -(-limits.kv_cache_tokens // _KV_BLOCK_TOKENS) * _KV_BLOCK_TOKENS
    cache_bytes = (cache_tokens + limits.shelf_tokens) * shape.cache_elements * _F16_BYTES
    state_bytes = limits.num_all_slots * shape.state_elements * _F32_BYTES

    batch_tokens = min(limits.batch_tokens, cache_tokens)
    token_elements = (
        _EMBEDDING_BUFFERS * shape.embedding_length
        + _ATTENTION_BUFFERS * shape.attention_width
        + _FEED_FORWARD_BUFFERS * shape.feed_forward_width
    )
    mask_bytes = (1 + shape.num_windowed_masks) * cache_tokens * _F16_BYTES
    step_bytes = batch_tokens * (token_elements * _F32_BYTES + mask_bytes)
    # A row for each sequence where it is computed, and for each slot where it is read.
    logits_bytes = (limits.num_slots + limits.num_all_slots) * metadata.vocabulary_size * _F32_BYTES
    vocabulary_bytes = metadata.vocabulary_size * _VOCABULARY_TOKEN_BYTES
    return metadata.weights_bytes + cache_bytes + state_bytes + step_bytes + logits_bytes + vocabulary_bytes
