"""Completions, from the gRPC contract's form to OpenAI's JSON. Pure functions that give plain dictionaries."""

from __future__ import annotations

from llamawire.v1 import chat_pb2, completion_pb2
from llamawire_server.shim.chat.answers import finish_reason
from llamawire_server.shim.http.answer_cost import cost
from llamawire_server.shim.http.response_types import Json

KIND = "text_completion"


def completion(answer: completion_pb2.Completion, *, lists_top: bool) -> Json:
    """All choices; lists_top: whether the likeliest tokens were asked for."""
    return {
        **envelope(answer),
        "choices": [choice(source, lists_top=lists_top) for source in answer.choices],
        **cost(answer),
    }


def envelope(answer: completion_pb2.Completion | completion_pb2.CompletionChunk) -> Json:
    """What an answer says of itself, and each of its chunks repeats."""
    return {
        "id": answer.id,
        "object": KIND,
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": answer.system_fingerprint,
    }


def choice(source: completion_pb2.CompletionChoice, *, lists_top: bool) -> Json:
    """A choice, or what is new in one."""
    has_logprobs = source.HasField("logprobs")
    return {
        "text": source.text,
        "index": source.index,
        "logprobs": _logprobs(source.logprobs, lists_top) if has_logprobs else None,
        "finish_reason": finish_reason(source.finish_reason, as_functions=False),
    }


def _logprobs(source: completion_pb2.CompletionLogprobs, lists_top: bool) -> Json:
    tokens = source.tokens
    return {
        "tokens": [_name(token.bytes) for token in tokens],
        "token_logprobs": [token.logprob if token.HasField("logprob") else None for token in tokens],
        "top_logprobs": [_top(token) for token in tokens] if lists_top else None,
        "text_offset": [token.text_offset for token in tokens],
    }


def _top(token: completion_pb2.CompletionTokenLogprob) -> dict[str, float] | None:
    """The likeliest tokens, likeliest first, and the one that came."""
    if not token.HasField("logprob"):
        return None
    found: list[chat_pb2.TopLogprob | completion_pb2.CompletionTokenLogprob] = [*token.top_logprobs, token]
    likeliest: dict[str, float] = {}
    for one in found:
        # Two tokens of one text are one key: the likelier counts.
        likeliest.setdefault(_name(one.bytes), one.logprob)
    return likeliest


def _name(piece: bytes) -> str:
    """A token's text, or its bytes in the form that OpenAI has for those that are no text by themselves."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
