"""What tests ask with OpenAI's Python SDK."""

from __future__ import annotations

from typing import Any

import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk

STORY: list[Any] = [{"role": "user", "content": "Write a story about a fox."}]
GREEDY: dict[str, Any] = {"model": "smollm2", "messages": STORY, "temperature": 0, "max_tokens": 10}


def create(sdk: openai.OpenAI, **fields: Any) -> ChatCompletion:
    """A whole answer."""
    return sdk.chat.completions.create(**{**GREEDY, **fields})


def stream(sdk: openai.OpenAI, **fields: Any) -> list[ChatCompletionChunk]:
    """A stream, read to its end."""
    return list(sdk.chat.completions.create(**{**GREEDY, **fields, "stream": True}))


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    """What a choice says in a stream."""
    return "".join(
        choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.index == index
    )
