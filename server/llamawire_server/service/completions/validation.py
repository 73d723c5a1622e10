"""What is wrong with a request for completions, field by field. All of it is said at once."""

from __future__ import annotations

from itertools import chain

from llamawire.v1 import completion_pb2
from llamawire_server.errors import FieldViolation
from llamawire_server.service.form_validation import format_violations
from llamawire_server.service.validation import (
    MAX_CHOICES,
    MAX_PROMPTS,
    MAX_TEXT_BYTES,
    MAX_TOKENS,
    MAX_TOP_LOGPROBS,
    RANGES,
    Violations,
    model_violations,
    raise_invalid,
    sampling_violations,
    token_violations,
    vocabulary_violations,
)

# Inclusive bounds of the request's numbers; those of None have no end there.
COMPLETION_RANGES: dict[str, tuple[float, float | None]] = {
    "temperature": RANGES["temperature"],
    "top_p": RANGES["top_p"],
    "top_k": RANGES["top_k"],
    "min_p": RANGES["min_p"],
    "frequency_penalty": RANGES["frequency_penalty"],
    "presence_penalty": RANGES["presence_penalty"],
    "max_tokens": (0, None),
    "n": RANGES["n"],
    "best_of": (1, MAX_CHOICES),
    "logprobs": (0, MAX_TOP_LOGPROBS),
    "priority": RANGES["priority"],
}


def check_completion_request(request: completion_pb2.CompletionRequest, *, is_streamed: bool) -> None:
    """Raise ServiceError for a request that no model could answer."""
    raise_invalid(
        chain(
            model_violations(request.model),
            _prompts(request),
            sampling_violations(request, COMPLETION_RANGES),
            format_violations(request.response_format),
            _combinations(request, is_streamed),
        )
    )


def check_completion_against_model(
    request: completion_pb2.CompletionRequest, *, vocabulary_size: int, parallel: int
) -> None:
    """Raise ServiceError for what this model can't be asked."""
    raise_invalid(
        chain(
            _prompt_tokens(request, vocabulary_size),
            _choices(request, parallel),
            vocabulary_violations(request, vocabulary_size),
        )
    )


def num_generated(request: completion_pb2.CompletionRequest) -> int:
    """How many choices are generated for each prompt."""
    num_given = request.n if request.HasField("n") else 1
    return request.best_of if request.HasField("best_of") else num_given


def _prompts(request: completion_pb2.CompletionRequest) -> Violations:
    if not request.prompt:
        yield FieldViolation("prompt", "is required")
    if len(request.prompt) > MAX_PROMPTS:
        message = f"has {len(request.prompt)} entries; at most {MAX_PROMPTS} are allowed"
        yield FieldViolation("prompt", message)
        return
    for index, prompt in enumerate(request.prompt):
        if prompt.WhichOneof("prompt") is None:
            yield FieldViolation(f"prompt[{index}]", "is empty")
    num_tokens = sum(len(prompt.tokens.tokens) for prompt in request.prompt)
    if num_tokens > MAX_TOKENS:
        yield FieldViolation("prompt", f"has {num_tokens} tokens together; at most {MAX_TOKENS} are allowed")
        return
    yield from _prompt_tokens(request, 2**31)
    if len(request.suffix.encode()) > MAX_TEXT_BYTES:
        yield FieldViolation("suffix", f"is longer than {MAX_TEXT_BYTES} bytes")


def _prompt_tokens(request: completion_pb2.CompletionRequest, vocabulary_size: int) -> Violations:
    for index, prompt in enumerate(request.prompt):
        if prompt.WhichOneof("prompt") == "tokens":
            name, tokens = f"prompt[{index}].tokens", prompt.tokens.tokens
            if not tokens and not request.suffix:
                yield FieldViolation(name, "must have at least one token")
            yield from token_violations(name, tokens, vocabulary_size, MAX_TOKENS)


def _choices(request: completion_pb2.CompletionRequest, parallel: int) -> Violations:
    if num_generated(request) > parallel:
        name = "best_of" if request.HasField("best_of") else "n"
        message = f"is {num_generated(request)}; the model generates at most {parallel} at once"
        yield FieldViolation(name, message)


def _combinations(request: completion_pb2.CompletionRequest, is_streamed: bool) -> Violations:
    num_given = request.n if request.HasField("n") else 1
    if request.HasField("best_of"):
        if request.best_of < num_given:
            yield FieldViolation(
                "best_of", f"is {request.best_of}; it must be at least n, which is {num_given}"
            )
        elif request.best_of > num_given and is_streamed:
            yield FieldViolation("best_of", "can't be more than n in a stream: the best are known at the end")
    if request.suffix and request.echo:
        yield FieldViolation("echo", "can't be combined with suffix")
