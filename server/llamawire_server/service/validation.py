"""What is wrong with a request, field by field. All of it is said at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice

from google.protobuf import struct_pb2

from llamawire.v1 import chat_pb2, model_pb2, tokenizer_pb2
from llamawire_server.chat.tools.history import check_history
from llamawire_server.errors import FieldViolation, invalid, unsupported
from llamawire_server.service.form_validation import MAX_TOOLS, form_violations, tool_violations
from llamawire_server.service.prompt import SamplingRequest, template_messages
from llamawire_server.worker.embedding_messages import MAX_EMBEDDING_TOKENS as MAX_EMBEDDING_TOKENS

# Counts are checked before entries: everybody waits while one caller's request is looked at.
MAX_MESSAGES = 16_384
MAX_CONTENT_PARTS = 1024
MAX_PROMPTS = 128
MAX_CHOICES = 256
MAX_STOPS = 16
MAX_STOP_TOKEN_IDS = 256
MAX_LOGIT_BIAS = 1024
MAX_TEMPLATE_VARIABLES_BYTES = 64 * 1024
MAX_TEXT_BYTES = 1024 * 1024
MAX_TOKENS = 1024 * 1024
MAX_TOKENIZE_PARTS = 4096
MAX_EMBEDDING_INPUTS = 2048
MAX_STOP_BYTES = 1024
MAX_NAME_BYTES = 256
MAX_USER_BYTES = 512
MAX_PREDICTION_BYTES = 1024 * 1024
MAX_METADATA_ENTRIES = 16
MAX_TOP_LOGPROBS = 20
MAX_WATCHED_NAMES = 256
# A message has room for millions of bad tokens, and nobody is helped by that many complaints.
MAX_VIOLATIONS = 1000

# Inclusive bounds of the numbers of a chat request, which others may have too; those of None have no end there.
RANGES: dict[str, tuple[float, float | None]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (0, None),
    "min_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "max_tokens": (1, None),
    "n": (1, MAX_CHOICES),
    "top_logprobs": (0, MAX_TOP_LOGPROBS),
    "priority": (-100, 100),
    "reasoning_budget": (0, None),
}

Violations = Iterable[FieldViolation]


def check_chat_request(request: chat_pb2.ChatCompletionRequest) -> None:
    """Raise ServiceError for a request that no model could answer, or for what this server can't do."""
    if violations := _some(_chat_violations(request)):
        raise invalid(violations)
    if violations := _some(_unsupported_parts(request)):
        raise unsupported(violations)


def check_prompt(request: chat_pb2.ChatCompletionRequest) -> None:
    """Like `check_chat_request`, for what shapes the prompt only."""
    if violations := _some(chain(model_violations(request.model), _prompt(request))):
        raise invalid(violations)
    if violations := _some(_unsupported_parts(request)):
        raise unsupported(violations)


def check_against_model(
    request: chat_pb2.ChatCompletionRequest, *, vocabulary_size: int, parallel: int
) -> None:
    """Raise ServiceError for what this model can't be asked."""
    if violations := _some(_model_violations(request, vocabulary_size, parallel)):
        raise invalid(violations)


def sampling_violations(
    request: SamplingRequest, ranges: Mapping[str, tuple[float, float | None]]
) -> Violations:
    """What is wrong with how a model is to go on. ranges: of the request's numbers, as `RANGES` has them."""
    yield from _numbers(request, ranges)
    yield from _stops(request)
    if len(request.user.encode()) > MAX_USER_BYTES:
        yield FieldViolation("user", f"is longer than {MAX_USER_BYTES} bytes")
    if len(request.prediction.content.encode()) > MAX_PREDICTION_BYTES:
        yield FieldViolation("prediction.content", f"is longer than {MAX_PREDICTION_BYTES} bytes")


def vocabulary_violations(request: SamplingRequest, vocabulary_size: int) -> Violations:
    """Which tokens of its bias and its stops a model does not have."""
    yield from token_violations("stop_token_ids", request.stop_token_ids, vocabulary_size, MAX_STOP_TOKEN_IDS)
    for token in sorted(request.logit_bias):
        if token >= vocabulary_size:
            yield FieldViolation(f"logit_bias[{token}]", f"the model's tokens are 0 to {vocabulary_size - 1}")


def raise_invalid(violations: Violations) -> None:
    """Raise ServiceError where there are any, with as many as are of use."""
    if some := _some(violations):
        raise invalid(some)


def check_name(name: str) -> None:
    """Raise ServiceError for what can't be the name of a model."""
    if violations := _some(model_violations(name, "name")):
        raise invalid(violations)


def check_watch(request: model_pb2.WatchModelsRequest) -> None:
    """Raise ServiceError for names that no model can have, and for too many of them."""
    if len(request.names) > MAX_WATCHED_NAMES:
        raise invalid([_too_many("names", len(request.names), MAX_WATCHED_NAMES)])
    names = (model_violations(name, f"names[{index}]") for index, name in enumerate(request.names))
    if violations := _some(chain.from_iterable(names)):
        raise invalid(violations)


def check_tokenize(request: tokenizer_pb2.TokenizeRequest, vocabulary_size: int | None = None) -> None:
    """Raise ServiceError for a bad request; with the size of the vocabulary, for tokens outside it too."""
    limit = vocabulary_size if vocabulary_size is not None else 2**31
    raise_invalid(chain(model_violations(request.model), _tokenize_violations(request, limit)))


def check_detokenize(request: tokenizer_pb2.DetokenizeRequest, vocabulary_size: int | None = None) -> None:
    """Raise ServiceError for a bad request; with the size of the vocabulary, for tokens outside it too."""
    limit = vocabulary_size if vocabulary_size is not None else 2**31
    tokens = token_violations("tokens", request.tokens, limit, MAX_TOKENS)
    if violations := _some(chain(model_violations(request.model), tokens)):
        raise invalid(violations)


def _some(violations: Violations) -> list[FieldViolation]:
    return list(islice(violations, MAX_VIOLATIONS))


def _tokenize_violations(request: tokenizer_pb2.TokenizeRequest, vocabulary_size: int) -> Violations:
    if len(request.parts) > MAX_TOKENIZE_PARTS:
        yield _too_many("parts", len(request.parts), MAX_TOKENIZE_PARTS)
        return
    if request.parts and request.text:
        yield FieldViolation("parts", "stands in the place of text")
    texts = [request.text, *(part.text for part in request.parts)]
    if sum(len(text.encode("utf-8", "replace")) for text in texts) > MAX_TEXT_BYTES:
        name = "parts" if request.parts else "text"
        yield FieldViolation(name, f"is longer than {MAX_TEXT_BYTES} bytes; send it in pieces")
    num_tokens = sum(len(part.tokens.tokens) for part in request.parts)
    if num_tokens > MAX_TOKENS:
        yield FieldViolation("parts", f"has {num_tokens} tokens together; at most {MAX_TOKENS} are allowed")
        return
    for index, part in enumerate(request.parts):
        kind = part.WhichOneof("part")
        if kind is None:
            yield FieldViolation(f"parts[{index}]", "must have a text or tokens")
        elif kind == "tokens":
            name = f"parts[{index}].tokens"
            yield from token_violations(name, part.tokens.tokens, vocabulary_size, MAX_TOKENS)


def _chat_violations(request: chat_pb2.ChatCompletionRequest) -> Violations:
    yield from model_violations(request.model)
    yield from _prompt(request)
    yield from sampling_violations(request, RANGES)
    yield from form_violations(request)
    if len(request.metadata) > MAX_METADATA_ENTRIES:
        yield FieldViolation("metadata", f"has more than {MAX_METADATA_ENTRIES} entries")


def _model_violations(
    request: chat_pb2.ChatCompletionRequest, vocabulary_size: int, parallel: int
) -> Violations:
    if request.n > parallel:
        yield FieldViolation("n", f"is {request.n}; the model generates at most {parallel} at once")
    yield from vocabulary_violations(request, vocabulary_size)


def model_violations(name: str, field: str = "model") -> Violations:
    """What is wrong with the name of a model."""
    if not name.strip():
        yield FieldViolation(field, "is required")
    elif len(name.encode()) > MAX_NAME_BYTES:
        yield FieldViolation(field, f"is longer than {MAX_NAME_BYTES} bytes")


def _prompt(request: chat_pb2.ChatCompletionRequest) -> Violations:
    yield from _messages(request)
    yield from tool_violations(request)
    if request.reasoning_effort not in chat_pb2.ReasoningEffort.values():
        yield FieldViolation("reasoning_effort", f"is unknown: {request.reasoning_effort}")
    if request.chat_template_kwargs.ByteSize() > MAX_TEMPLATE_VARIABLES_BYTES:
        yield FieldViolation("chat_template_kwargs", f"is longer than {MAX_TEMPLATE_VARIABLES_BYTES} bytes")
        return
    for key, value in sorted(request.chat_template_kwargs.fields.items()):
        yield from _variable(f"chat_template_kwargs.{key[:64]}", value)


def _variable(name: str, value: struct_pb2.Value) -> Violations:
    kind = value.WhichOneof("kind")
    if kind == "number_value" and not math.isfinite(value.number_value):
        yield FieldViolation(name, "must be a finite number")
    elif kind == "list_value":
        for index, entry in enumerate(value.list_value.values):
            yield from _variable(f"{name}[{index}]", entry)
    elif kind == "struct_value":
        for key, entry in sorted(value.struct_value.fields.items()):
            yield from _variable(f"{name}.{key[:64]}", entry)


def _messages(request: chat_pb2.ChatCompletionRequest) -> Violations:
    if not request.messages:
        yield FieldViolation("messages", "must have at least one message")
    if len(request.messages) > MAX_MESSAGES:
        yield _too_many("messages", len(request.messages), MAX_MESSAGES)
        return
    is_sound = True
    for index, message in enumerate(request.messages):
        for violation in _message(message):
            is_sound = False
            yield FieldViolation(f"messages[{index}].{violation.field}", violation.description)
    if is_sound:
        # Each message is right by itself: whether they are so one after the other.
        for field, problem in check_history(template_messages(request)):
            yield FieldViolation(field, problem)


def _message(message: chat_pb2.Message) -> Violations:
    role = message.role
    if role == chat_pb2.ROLE_UNSPECIFIED:
        yield FieldViolation("role", "is required")
    elif role not in chat_pb2.Role.values():
        yield FieldViolation("role", f"is unknown: {role}")
    if message.HasField("content") and message.content_parts:
        yield FieldViolation("content", "can't be given together with content_parts")
    speaks = message.HasField("content") or bool(message.content_parts)
    if role == chat_pb2.ROLE_ASSISTANT:
        speaks |= (
            bool(message.tool_calls) or message.HasField("refusal") or message.HasField("reasoning_content")
        )
    if not speaks:
        yield FieldViolation("content", "is required")
    if len(message.content_parts) > MAX_CONTENT_PARTS:
        yield _too_many("content_parts", len(message.content_parts), MAX_CONTENT_PARTS)
    for index, part in enumerate(message.content_parts[:MAX_CONTENT_PARTS]):
        if part.WhichOneof("part") is None:
            yield FieldViolation(f"content_parts[{index}]", "is empty")
    if len(message.name.encode()) > MAX_NAME_BYTES:
        yield FieldViolation("name", f"is longer than {MAX_NAME_BYTES} bytes")
    if message.tool_calls and role != chat_pb2.ROLE_ASSISTANT:
        yield FieldViolation("tool_calls", "only an assistant's message can have them")
    if len(message.tool_calls) > MAX_TOOLS:
        yield _too_many("tool_calls", len(message.tool_calls), MAX_TOOLS)
    for index, call in enumerate(message.tool_calls[:MAX_TOOLS]):
        if not call.function.name:
            yield FieldViolation(f"tool_calls[{index}].function.name", "is required")
    if role == chat_pb2.ROLE_TOOL and not message.tool_call_id:
        yield FieldViolation("tool_call_id", "is required in a tool's message")
    if role != chat_pb2.ROLE_TOOL and message.tool_call_id:
        yield FieldViolation("tool_call_id", "only a tool's message can have one")


def _numbers(request: SamplingRequest, ranges: Mapping[str, tuple[float, float | None]]) -> Violations:
    for name, (low, high) in ranges.items():
        value = getattr(request, name)
        if not request.HasField(name):  # type: ignore[arg-type]
            continue
        if not math.isfinite(value):
            yield FieldViolation(name, "must be a finite number")
        elif value < low or (high is not None and value > high):
            bounds = f"at least {low}" if high is None else f"in [{low}, {high}]"
            yield FieldViolation(name, f"is {value:.6g}; it must be {bounds}")
    penalty = request.repeat_penalty
    if request.HasField("repeat_penalty") and not 0 < penalty <= 10:
        yield FieldViolation("repeat_penalty", f"is {penalty:.6g}; it must be in (0, 10]")
    if len(request.logit_bias) > MAX_LOGIT_BIAS:
        yield _too_many("logit_bias", len(request.logit_bias), MAX_LOGIT_BIAS)
        return
    for token, bias in sorted(request.logit_bias.items()):
        if token < 0:
            yield FieldViolation(f"logit_bias[{token}]", "is no token")
        elif not -100 <= bias <= 100:
            yield FieldViolation(f"logit_bias[{token}]", f"is {bias:.6g}; it must be in [-100, 100]")


def _stops(request: SamplingRequest) -> Violations:
    if len(request.stop) > MAX_STOPS:
        yield _too_many("stop", len(request.stop), MAX_STOPS)
    for index, stop in enumerate(request.stop[:MAX_STOPS]):
        if not stop:
            yield FieldViolation(f"stop[{index}]", "is empty")
        elif len(stop.encode()) > MAX_STOP_BYTES:
            yield FieldViolation(f"stop[{index}]", f"is longer than {MAX_STOP_BYTES} bytes")
    yield from token_violations("stop_token_ids", request.stop_token_ids, 2**31, MAX_STOP_TOKEN_IDS)


def token_violations(name: str, tokens: Sequence[int], vocabulary_size: int, most: int) -> Violations:
    """Which tokens of a list there are not, and whether they are more than `most`."""
    if len(tokens) > most:
        yield _too_many(name, len(tokens), most)
        return
    if not tokens or (min(tokens) >= 0 and max(tokens) < vocabulary_size):
        return  # as nearly always, and found out several times as fast
    for index, token in enumerate(tokens):
        if not 0 <= token < vocabulary_size:
            yield FieldViolation(f"{name}[{index}]", f"{token} is not in [0, {vocabulary_size})")


def _too_many(name: str, number: int, most: int) -> FieldViolation:
    return FieldViolation(name, f"has {number} entries; at most {most} are allowed")


def _unsupported_parts(request: chat_pb2.ChatCompletionRequest) -> Violations:
    """What would change the answer and can't be done; ignoring it would be a lie."""
    for index, message in enumerate(request.messages):
        for number, part in enumerate(message.content_parts):
            kind = part.WhichOneof("part")
            if kind in ("image_url", "input_audio"):
                place = f"messages[{index}].content_parts[{number}]"
                yield FieldViolation(place, f"the model takes text only, not {kind}")
