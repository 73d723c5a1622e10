"""How large a model's context is made: needed to make it, and to tell beforehand what that takes."""

from __future__ import annotations

from llamawire_server.config import ModelSettings
from llamawire_server.engine.scheduler import Limits

# Contexts grow with what a model was trained on, memory does not: longer ones are asked for by name.
MAX_DEFAULT_CONTEXT_LENGTH = 8192

# Full contexts that the KV cache holds by default; all sequences share them.
DEFAULT_CONTEXTS = 2

BATCH_TOKENS = 512


def context_limits(settings: ModelSettings, training_context_length: int) -> Limits:
    """What a context made by `settings` allows. training_context_length: tokens; 0 where the model doesn't say."""
    trained = training_context_length or MAX_DEFAULT_CONTEXT_LENGTH
    context_length = settings.context_length or min(trained, MAX_DEFAULT_CONTEXT_LENGTH)
    kv_cache_tokens = settings.kv_cache_tokens or context_length * min(DEFAULT_CONTEXTS, settings.parallel)
    return Limits(
        num_slots=settings.parallel,
        kv_cache_tokens=max(kv_cache_tokens, context_length),
        context_length=context_length,
        batch_tokens=max(BATCH_TOKENS, settings.parallel),
    )
