"""What an answer cost, as OpenAI's completions of either kind have it, and llamawire's timings beside it."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from llamawire.v1 import chat_pb2, completion_pb2, usage_pb2
from llamawire_server.shim.http.response_types import Json


def cost(
    source: chat_pb2.ChatCompletion
    | chat_pb2.ChatCompletionChunk
    | completion_pb2.Completion
    | completion_pb2.CompletionChunk,
) -> Json:
    """The usage and timings of an answer, or of as much of it as a chunk knows."""
    return {"usage": _usage(source.usage), "timings": timings(source.timings)}


def _usage(source: usage_pb2.Usage) -> Json:
    """What an answer cost in tokens."""
    prompt, completion = source.prompt_tokens_details, source.completion_tokens_details
    return {
        "prompt_tokens": source.prompt_tokens,
        "completion_tokens": source.completion_tokens,
        "total_tokens": source.total_tokens,
        "prompt_cache_hit_tokens": source.prompt_cache_hit_tokens,
        "prompt_cache_miss_tokens": source.prompt_cache_miss_tokens,
        "prompt_tokens_details": {
            "cached_tokens": prompt.cached_tokens,
            "audio_tokens": prompt.audio_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": completion.reasoning_tokens,
            "audio_tokens": completion.audio_tokens,
            "accepted_prediction_tokens": completion.accepted_prediction_tokens,
            "rejected_prediction_tokens": completion.rejected_prediction_tokens,
            "accepted_draft_tokens": completion.accepted_draft_tokens,
            "rejected_draft_tokens": completion.rejected_draft_tokens,
        },
    }


def timings(source: usage_pb2.Timings) -> Json:
    """What an answer cost in time, in seconds."""
    return {
        "queue_seconds": _seconds(source.queue),
        "model_load_seconds": _seconds(source.model_load),
        "prompt_seconds": _seconds(source.prompt),
        "first_token_seconds": _seconds(source.first_token),
        "generation_seconds": _seconds(source.generation),
    }


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
