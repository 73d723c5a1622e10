"""What a worker answers embeddings with: beside a model that generates, or as all that there is of an encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llamawire_server.config import ModelSettings
from llamawire_server.engine.budget import StepTargets
from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.embedding.engine import EmbeddingEngine
from llamawire_server.engine.runner.embedding_context import EmbeddingContext
from llamawire_server.engine.runner.model import LoadedModel, ModelLoadError
from llamawire_server.engine.runner.pooling import PoolingError
from llamawire_server.engine.runner.vocabulary import Vocabulary
from llamawire_server.machine import resident_bytes
from llamawire_server.worker.child.desk import Desk, EmbeddingWork
from llamawire_server.worker.child.embeddings import Embeddings
from llamawire_server.worker.child.outbox import Outbox
from llamawire_server.worker.child.prompts import PromptBuilder
from llamawire_server.worker.child.refusals import NoEmbeddings, NoGenerations
from llamawire_server.worker.messages import Loaded


@dataclass(frozen=True)
class EmbeddingSetup:
    """How a model embeds."""

    work: EmbeddingWork
    width: int
    """How many numbers a vector has; 0 where the model gives none."""

    token_seconds: float
    """How long the model computes a token by itself."""


def set_up_embeddings(
    loaded: LoadedModel, settings: ModelSettings, vocabulary: Vocabulary, is_shared: Callable[[], bool]
) -> EmbeddingSetup:
    """is_shared: whether answers are generated just now, which then wait for their next token. Raises ModelLoadError
    where an encoder can't be computed with; of other models that is seen when it is asked for."""
    token_seconds = loaded.token_seconds
    try:
        context = EmbeddingContext(loaded, settings)
        if loaded.is_encoder:
            token_seconds = context.warm_up()
    except PoolingError as error:
        return EmbeddingSetup(NoEmbeddings(str(error)), 0, token_seconds)
    except DecodeError as error:
        raise ModelLoadError(f"llama.cpp could not compute with the model: {error}") from error
    # Streams wait for a batch and for a step of their own.
    targets = StepTargets(shared_seconds=settings.token_interval_seconds / 2)
    work = Embeddings(
        EmbeddingEngine(context, targets, token_seconds),
        vocabulary,
        max_queued_tokens=settings.max_queued_tokens,
        is_shared=is_shared,
    )
    return EmbeddingSetup(work, context.width, token_seconds)


def load_encoder(loaded: LoadedModel, settings: ModelSettings, outbox: Outbox) -> Desk:
    """Get a model ready that embeds and does nothing else, and tell its facts. Raises ModelLoadError."""
    vocabulary = Vocabulary(loaded.vocabulary)
    context_length = loaded.limits.context_length
    embeddings = set_up_embeddings(loaded, settings, vocabulary, is_shared=lambda: False)
    memory_bytes = resident_bytes()
    outbox.put(
        Loaded(
            num_parameters=loaded.facts.num_parameters,
            training_context_length=loaded.facts.training_context_length,
            context_length=context_length,
            vocabulary_size=loaded.facts.vocabulary_size,
            parallel=loaded.limits.num_slots,
            kv_cache_tokens=0,
            memory_bytes=memory_bytes,
            token_seconds=embeddings.token_seconds,
            has_chat_template=False,
            embedding_length=embeddings.width,
            whole_input_tokens=context_length,
        )
    )
    return Desk(
        vocabulary,
        PromptBuilder(vocabulary, None, context_length),
        NoGenerations("the model is an encoder: it turns texts into vectors, and generates nothing"),
        outbox,
        embeddings=embeddings.work,
        context_length=context_length,
        memory_bytes=memory_bytes,
    )
