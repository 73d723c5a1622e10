"""What answers cost: tokens and time, as the contract has them."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import duration_pb2

from llamawire.v1 import usage_pb2
from llamawire_server.worker.messages import Completed


def usage_of(completed: Completed) -> usage_pb2.Usage:
    """The tokens of a request."""
    return token_usage(
        completed.num_prompt_tokens,
        completed.num_cached_tokens,
        completed.num_completion_tokens,
        usage_pb2.CompletionTokensDetails(
            reasoning_tokens=completed.num_reasoning_tokens,
            accepted_prediction_tokens=completed.num_accepted_prediction_tokens,
            rejected_prediction_tokens=completed.num_rejected_prediction_tokens,
            accepted_draft_tokens=completed.num_accepted_draft_tokens,
            rejected_draft_tokens=completed.num_rejected_draft_tokens,
        ),
    )


def token_usage(
    num_prompt_tokens: int,
    num_cached_tokens: int,
    num_completion_tokens: int,
    completion_details: usage_pb2.CompletionTokensDetails,
) -> usage_pb2.Usage:
    """So many tokens. num_cached_tokens: of the prompt's."""
    return usage_pb2.Usage(
        prompt_tokens=num_prompt_tokens,
        completion_tokens=num_completion_tokens,
        total_tokens=num_prompt_tokens + num_completion_tokens,
        prompt_cache_hit_tokens=num_cached_tokens,
        prompt_cache_miss_tokens=num_prompt_tokens - num_cached_tokens,
        prompt_tokens_details=usage_pb2.PromptTokensDetails(cached_tokens=num_cached_tokens),
        completion_tokens_details=completion_details,
    )


def timings_of(
    completed: Completed, model_load_seconds: float, seconds_before_queue: float
) -> usage_pb2.Timings:
    """Where the time of a request went. seconds_before_queue: from its arrival at the server to the model's queue."""
    before_first_token = completed.queue_seconds + completed.prompt_seconds
    return usage_pb2.Timings(
        queue=_duration(completed.queue_seconds),
        model_load=_duration(model_load_seconds),
        prompt=_duration(completed.prompt_seconds),
        first_token=_duration(seconds_before_queue + before_first_token),
        generation=_duration(completed.generation_seconds),
    )


def total(parts: Sequence[Completed]) -> Completed:
    """What several generations cost together that began to wait at the same time.

    Tokens add up. As to time, they count as one: it waits until the first of them is computed, computes its prompt
    until the first token comes, and generates until the last one has come.
    """
    first_steps = [part.queue_seconds for part in parts]
    first_tokens = [part.queue_seconds + part.prompt_seconds for part in parts]
    ends = [part.queue_seconds + part.prompt_seconds + part.generation_seconds for part in parts]
    return Completed(
        parts[0].request_id,
        num_prompt_tokens=sum(part.num_prompt_tokens for part in parts),
        num_cached_tokens=sum(part.num_cached_tokens for part in parts),
        num_completion_tokens=sum(part.num_completion_tokens for part in parts),
        queue_seconds=min(first_steps),
        prompt_seconds=min(first_tokens) - min(first_steps),
        generation_seconds=max(ends) - min(first_tokens),
        num_accepted_prediction_tokens=sum(part.num_accepted_prediction_tokens for part in parts),
        num_rejected_prediction_tokens=sum(part.num_rejected_prediction_tokens for part in parts),
        num_accepted_draft_tokens=sum(part.num_accepted_draft_tokens for part in parts),
        num_rejected_draft_tokens=sum(part.num_rejected_draft_tokens for part in parts),
        num_reasoning_tokens=sum(part.num_reasoning_tokens for part in parts),
    )


def _duration(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
