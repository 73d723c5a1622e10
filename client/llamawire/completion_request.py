"""Requests for completions from keyword arguments, in the forms that come naturally in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from llamawire.chat_request import (
    ResponseFormatLike,
    to_logit_bias,
    to_prediction,
    to_response_format,
    to_stops,
)
from llamawire.request_fields import build
from llamawire.v1 import chat_pb2, completion_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

PromptLike: TypeAlias = "str | Sequence[int] | completion_pb2.CompletionPrompt"


class CompletionOptions(TypedDict, total=False):
    """Every field of CompletionRequest. None is the same as leaving a field out; 0 is not."""

    model: str | None
    prompt: PromptLike | Iterable[PromptLike] | None
    """A text, a list of tokens, a proto, or several of these."""
    suffix: str | None
    """What comes after the text to be generated, for models that were taught to fill a gap."""
    echo: bool | None
    add_special: bool | None
    parse_special: bool | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repeat_penalty: float | None
    seed: int | None
    max_tokens: int | None
    """0: the prompts are computed, and with `echo` and `logprobs` scored, and nothing is generated."""
    stop: str | Sequence[str] | None
    stop_token_ids: Sequence[int] | None
    n: int | None
    best_of: int | None
    logprobs: int | None
    """How many of the likeliest tokens to list at each place."""
    logit_bias: Mapping[int, float] | None
    response_format: ResponseFormatLike | None
    """As in `ChatOptions`."""
    prediction: str | Mapping[str, Any] | chat_pb2.Prediction | None
    """What will mostly come: its text, {"type": "content", "content": …} or a proto."""
    user: str | None
    wait_for_model: bool | None
    """Whether to wait for a model that is not loaded. False: the call raises UnavailableError at once, and is not
    tried again, while the model is being loaded."""
    priority: int | None
    """Where the request stands in the model's line: lower goes first, and a step is worth ten seconds of waiting."""
    continuous_usage: bool | None
    """Whether every chunk of a stream has the usage by then, and not the last one alone."""


def completion_request(
    base: completion_pb2.CompletionRequest | None = None, /, **options: Unpack[CompletionOptions]
) -> completion_pb2.CompletionRequest:
    """A request for completions: that of `base`, where it is given, with the options in place of its fields.

    `base` is not changed. Raises TypeError for an unknown option or a value of the wrong type, and
    ValueError for a value that stands for nothing; whether the values make sense is for the server to say.
    """
    return build(completion_pb2.CompletionRequest, "a request for completions", base, options, _CONVERSIONS)


def to_prompts(value: PromptLike | Iterable[PromptLike]) -> list[completion_pb2.CompletionPrompt]:
    """The prompts that a text, a list of tokens, a proto, or several of these stand for."""
    if isinstance(value, str | completion_pb2.CompletionPrompt):
        return [_to_prompt(value)]
    entries = list(value)
    tokens = [entry for entry in entries if isinstance(entry, int)]
    if tokens and len(tokens) == len(entries):
        return [_to_prompt(tokens)]
    return [_to_prompt(entry) for entry in entries]


def _to_prompt(value: Any) -> completion_pb2.CompletionPrompt:
    if isinstance(value, completion_pb2.CompletionPrompt):
        return value
    if isinstance(value, str):
        return completion_pb2.CompletionPrompt(text=value)
    return completion_pb2.CompletionPrompt(tokens=completion_pb2.CompletionPrompt.Tokens(tokens=value))


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "prompt": to_prompts,
    "stop": to_stops,
    "logit_bias": to_logit_bias,
    "response_format": to_response_format,
    "prediction": to_prediction,
}
