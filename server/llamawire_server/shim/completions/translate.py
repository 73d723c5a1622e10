"""Completion requests, from OpenAI's form to the gRPC contract's. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

from llamawire.v1 import completion_pb2
from llamawire_server.shim.chat.sampling_fields import BasicSamplingFields, FineSamplingFields
from llamawire_server.shim.chat.translate import plain_text, to_response_format, wants_continuous_usage
from llamawire_server.shim.completions.request_schema import CompletionRequest
from llamawire_server.shim.http.waiting_fields import WaitingFields

# Fields that have the same name and type on both sides.
_SAME = (
    *BasicSamplingFields.model_fields,
    *FineSamplingFields.model_fields,
    *WaitingFields.model_fields,
    "suffix",
    "echo",
    "add_special",
    "parse_special",
    "max_tokens",
    "n",
    "best_of",
    "logprobs",
    "user",
)


def to_completion_request(request: CompletionRequest) -> completion_pb2.CompletionRequest:
    """The same request for a `Service`. Raises ServiceError (INVALID) where a field can't be carried over."""
    same = {name: value for name in _SAME if (value := getattr(request, name)) is not None}
    message = completion_pb2.CompletionRequest(model=request.model, **same)
    message.prompt.extend(_prompts(request))
    message.stop.extend([request.stop] if isinstance(request.stop, str) else request.stop or ())
    message.stop_token_ids.extend(request.stop_token_ids or ())
    message.logit_bias.update({int(token): bias for token, bias in (request.logit_bias or {}).items()})
    if request.response_format is not None:
        message.response_format.CopyFrom(to_response_format(request.response_format))
    if request.prediction is not None:
        message.prediction.content = plain_text(request.prediction.content)
    if wants_continuous_usage(request.stream, request.stream_options):
        message.continuous_usage = True
    return message


def _prompts(request: CompletionRequest) -> Iterator[completion_pb2.CompletionPrompt]:
    prompt = request.prompt
    if prompt is None or isinstance(prompt, str):
        yield completion_pb2.CompletionPrompt(text=prompt or "")
        return
    tokens = [entry for entry in prompt if isinstance(entry, int)]
    if tokens:
        yield _of_tokens(tokens)
        return
    for entry in prompt:
        if isinstance(entry, str):
            yield completion_pb2.CompletionPrompt(text=entry)
        elif isinstance(entry, list):
            yield _of_tokens(entry)


def _of_tokens(tokens: list[int]) -> completion_pb2.CompletionPrompt:
    return completion_pb2.CompletionPrompt(tokens=completion_pb2.CompletionPrompt.Tokens(tokens=tokens))
