"""How large a model's context is made: needed to make it, and to tell beforehand what that takes."""

from __future__ import annotations

from llamawire_server.config import ModelSettings
from llamawire_server.engine.embedding.job import EmbeddingLimits
from llamawire_server.engine.step import Limits

# Contexts grow with what a model was trained on, memory does not: longer ones are asked for by name.
MAX_DEFAULT_CONTEXT_LENGTH = 8192

# Full contexts that the KV cache holds by default; all sequences share them.
DEFAULT_CONTEXTS = 2

BATCH_TOKENS = 512

# Slots for what ended sequences computed: so many that short ones fill the cells as well. Each costs a row of
# logits, which llama.cpp has for every slot.
LEAST_CACHE_SLOTS, MOST_CACHE_SLOTS = 32, 128
TOKENS_PER_CACHE_SLOT = 256

# The shelf's part of what the KV cache has.
SHELF_SHARE = 8

# llama.cpp takes 256 at most, and one is for cells on their way to the shelf and back.
MAX_SLOTS = 255


def context_limits(
    settings: ModelSettings,
    training_context_length: int,
    *,
    is_recurrent: bool = False,
    is_windowed: bool = False,
    is_encoder: bool = False,
) -> Limits:
    """What a context made by `settings` allows.

    training_context_length: tokens; 0 where the model doesn't say. is_recurrent: whether some layers remember all
    of a sequence's tokens together. is_windowed: whether some see a sliding window of the last tokens only: llama.cpp
    fills the cells of those that a sequence's window has left behind, so that there is no going back to where they
    mattered. is_encoder: whether all tokens see each other: nothing is kept of any, and none has a place beyond those
    that the model was trained on.
    """
    can_cut = not is_recurrent and not is_windowed
    trained = training_context_length or MAX_DEFAULT_CONTEXT_LENGTH
    context_length = settings.context_length or min(trained, MAX_DEFAULT_CONTEXT_LENGTH)
    if is_encoder:
        length = min(context_length, trained)
        return Limits(settings.parallel, length, length, max(BATCH_TOKENS, settings.parallel), can_cut=False)
    kv_cache_tokens = settings.kv_cache_tokens or context_length * min(DEFAULT_CONTEXTS, settings.parallel)
    # What a recurrent layer keeps of a sequence may be as large as thousands of tokens of another model, and layers
    # with windows have a window's cells for each.
    num_cache_slots = LEAST_CACHE_SLOTS
    if is_recurrent:
        num_cache_slots = settings.parallel
    elif can_cut:
        num_cache_slots = max(
            LEAST_CACHE_SLOTS, min(kv_cache_tokens // TOKENS_PER_CACHE_SLOT, MOST_CACHE_SLOTS)
        )
    shelf_tokens = settings.prompt_cache_tokens
    if not settings.prompt_cache:
        num_cache_slots = shelf_tokens = 0
    if shelf_tokens is None:
        shelf_tokens = max(kv_cache_tokens, context_length) // SHELF_SHARE
    if not can_cut or settings.parallel > MAX_SLOTS:
        shelf_tokens = 0
    return Limits(
        num_slots=settings.parallel,
        num_cache_slots=max(0, min(num_cache_slots, MAX_SLOTS - settings.parallel)),
        shelf_tokens=shelf_tokens,
        can_cut=can_cut,
        kv_cache_tokens=max(kv_cache_tokens, context_length),
        context_length=context_length,
        batch_tokens=max(BATCH_TOKENS, settings.parallel),
    )


# Of models that generate, llama.cpp computes the logits of every token that it embeds, and keeps them all.
EMBEDDING_BATCH_TOKENS = 256
EMBEDDING_BATCH_INPUTS = 64

# Each has a state of its own there, which may be as large as thousands of tokens of another model.
RECURRENT_BATCH_INPUTS = 4


def embedding_limits(context_length: int, *, is_encoder: bool, is_recurrent: bool) -> EmbeddingLimits:
    """What a context for embeddings allows. context_length: the most tokens of an input."""
    return EmbeddingLimits(
        context_length=context_length,
        # Beyond, an encoder mostly computes how little the inputs of a batch have to do with each other.
        batch_tokens=BATCH_TOKENS if is_encoder else EMBEDDING_BATCH_TOKENS,
        batch_inputs=RECURRENT_BATCH_INPUTS if is_recurrent else EMBEDDING_BATCH_INPUTS,
        takes_parts=not is_encoder,
    )


# What a cell that is nobody's costs a sequence that decodes alone, in each layer and head (AVX-512; measured with 400
# of them). Passing it by takes less; but llama.cpp's threads take a part of the cells each, so that one of them often
# has nothing but such cells, and another has all the work.
_IDLE_CELL_SECONDS = 8e-9

# By how much others' cells may slow down a sequence that decodes alone.
_IDLE_SHARE = 0.02

# llama.cpp attends to all cells up to the last that is in use, rounded up to a multiple of this.
_CELLS_PADDING = 256


def idle_tokens(num_layers: int, num_heads: int, token_seconds: float) -> int:
    """How many cells of ended sequences are let be while others run.

    token_seconds: how long the model computes a token by itself.
    """
    cell_seconds = _IDLE_CELL_SECONDS * max(1, num_layers * num_heads)
    num_tokens = int(_IDLE_SHARE * token_seconds / cell_seconds)
    return num_tokens - num_tokens % _CELLS_PADDING
