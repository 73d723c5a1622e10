"""Requests for completions, as tests send them."""

from __future__ import annotations

from typing import Any

from servers import RunningServer

from llamawire.v1 import completion_pb2, tokenizer_pb2

ONCE = "Once upon a time, there was a little"


def request(*prompts: str | list[int], **fields: Any) -> completion_pb2.CompletionRequest:
    """A greedy request for a few tokens, unless told otherwise."""
    values: dict[str, Any] = {"model": "smollm2", "temperature": 0, "max_tokens": 8, **fields}
    return completion_pb2.CompletionRequest(prompt=map(_prompt, prompts), **values)


def _prompt(prompt: str | list[int]) -> completion_pb2.CompletionPrompt:
    if isinstance(prompt, str):
        return completion_pb2.CompletionPrompt(text=prompt)
    return completion_pb2.CompletionPrompt(tokens=completion_pb2.CompletionPrompt.Tokens(tokens=prompt))


def complete(server: RunningServer, *prompts: str | list[int], **fields: Any) -> completion_pb2.Completion:
    """The whole answer."""
    return server.completions.CreateCompletion(request(*prompts, **fields))


def tokens_of(server: RunningServer, text: str, **fields: Any) -> list[int]:
    """The text's tokens, as those of a prompt unless told otherwise."""
    values: dict[str, Any] = {"model": "smollm2", "parse_special": True, **fields}
    asked = tokenizer_pb2.TokenizeRequest(text=text, **values)
    return list(server.tokenizer.Tokenize(asked).tokens)
