"""What ModelService tells: the models that a request could name, and how each stands."""

from __future__ import annotations

from google.protobuf import timestamp_pb2

from llamawire.v1 import model_pb2
from llamawire_server.gguf.metadata import GGUFMetadata
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.pool import ModelStatus, State

STATES = {
    State.UNLOADED: model_pb2.MODEL_STATE_UNLOADED,
    State.LOADING: model_pb2.MODEL_STATE_LOADING,
    State.READY: model_pb2.MODEL_STATE_READY,
    State.UNLOADING: model_pb2.MODEL_STATE_UNLOADING,
    State.FAILED: model_pb2.MODEL_STATE_FAILED,
}

# The ways of llama.h's enum llama_pooling_type to make one vector of a text, all but "none" and "rank"; where a file
# doesn't say, the mean is taken.
POOLED = (None, 1, 2, 3)


def describe(
    entry: ModelEntry, status: ModelStatus | None, failure: str | None, memory_bytes: int
) -> model_pb2.Model:
    """A model as the contract has it.

    status: where it is in the pool; failure: of its last load; memory_bytes: what it takes up, or would.
    """
    model = model_pb2.Model(
        name=entry.name, aliases=entry.aliases, pinned=entry.settings.pinned, problem=entry.problem
    )
    if status is not None:
        model.state = STATES[status.state]
        model.load_progress = status.load_progress if status.state is State.LOADING else 0.0
        model.active_requests = status.num_requests
        model.detail = status.detail
    else:
        model.state = model_pb2.MODEL_STATE_FAILED if failure else model_pb2.MODEL_STATE_UNLOADED
    model.failure = failure or ""
    metadata = entry.metadata
    if metadata is None:
        return model
    model.created.CopyFrom(timestamp_pb2.Timestamp(seconds=metadata.modified_ns // 10**9))
    has_chat_template = metadata.has_chat_template or entry.settings.chat_template is not None
    model.facts.CopyFrom(
        model_pb2.ModelFacts(
            architecture=metadata.architecture,
            display_name=metadata.display_name,
            quantization=metadata.quantization,
            num_parameters=metadata.num_parameters,
            file_size_bytes=metadata.file_size_bytes,
            training_context_length=metadata.training_context_length,
            vocabulary_size=metadata.vocabulary_size,
            has_chat_template=has_chat_template,
            memory_bytes=memory_bytes,
            capabilities=_capabilities(entry, metadata, has_chat_template=has_chat_template),
        )
    )
    if status is not None and status.worker is not None:
        loaded = status.worker.facts
        model.facts.context_length = loaded.context_length
        model.facts.parallel = loaded.parallel
        model.facts.kv_cache_tokens = loaded.kv_cache_tokens
        model.facts.embedding_length = loaded.embedding_length
    return model


def _capabilities(
    entry: ModelEntry, metadata: GGUFMetadata, *, has_chat_template: bool
) -> list[model_pb2.ModelCapability.ValueType]:
    found = []
    if has_chat_template and not metadata.is_encoder:
        found.append(model_pb2.MODEL_CAPABILITY_CHAT)
    if entry.settings.pooling is not None or metadata.pooling_type in POOLED:
        found.append(model_pb2.MODEL_CAPABILITY_EMBEDDINGS)
    return found
