"""Every way of calling tools, and answers written and read in it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llamawire_server.chat.call_margins import CallMargins
from llamawire_server.chat.tools.deepseek import DeepSeek
from llamawire_server.chat.tools.family import Family
from llamawire_server.chat.tools.functionary import Functionary, FunctionaryRecipients
from llamawire_server.chat.tools.generic import Generic
from llamawire_server.chat.tools.glm import GLM
from llamawire_server.chat.tools.granite import Granite
from llamawire_server.chat.tools.harmony import Harmony
from llamawire_server.chat.tools.hermes import Hermes
from llamawire_server.chat.tools.kimi import Kimi
from llamawire_server.chat.tools.llama3 import Llama3
from llamawire_server.chat.tools.minimax import MiniMax
from llamawire_server.chat.tools.mistral import Mistral
from llamawire_server.chat.tools.phi import Phi
from llamawire_server.chat.tools.qwen_coder import QwenCoder
from llamawire_server.chat.tools.seed import Seed
from llamawire_server.chat.tools.smollm import SmolLM
from llamawire_server.chat.tools.tool_format import CallDelta, Tool

WEATHER_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city"],
}
TOOLS = [
    Tool("get_weather", WEATHER_SCHEMA),
    Tool("get", {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}),
    Tool("now"),
]
WEATHER = ("get_weather", '{"city": "Paris", "days": 3}')
NESTED = ("get", '{"url": "a\\"}]{<tool_call>[", "more": {"b": [1, {"c": null}], "é": "\\\\"}}')
NOW = ("now", "{}")

FORMATS: dict[str, Family] = {
    "hermes": Hermes(),
    "generic": Generic(),
    "smollm": SmolLM(),
    "granite": Granite(),
    "phi": Phi(),
    "phi functools": Phi(template="functools["),
    "phi objects": Phi(template='<|tool_call|>{"name"'),
    "llama3": Llama3(),
    "mistral": Mistral(),
    "mistral names": Mistral(template="[ARGS]"),
    "deepseek v3": DeepSeek(template="```json"),
    "deepseek v3.1": DeepSeek(),
    "functionary": Functionary(),
    "functionary recipients": FunctionaryRecipients(),
    "harmony": Harmony(),
    "kimi": Kimi(),
}

TAGGED: dict[str, Family] = {
    "qwen-coder": QwenCoder(),
    "seed": Seed(),
    "glm 4.5": GLM(template="</arg_key>\n<arg_value>"),
    "glm 4.7": GLM(),
    "minimax": MiniMax(),
}
"""Those that write each argument by itself, and its value as text."""

# What begins calls behind text, where that differs from what begins an answer.
SWITCHES = {"llama3": "<|python_tag|>", "functionary recipients": ">>>"}
# What begins text.
HEADS = {"functionary recipients": "all\n"}


@dataclass(frozen=True)
class Answer:
    """What came of an answer: the content, and of each call its id, name and arguments."""

    content: str
    calls: tuple[tuple[str, str, str], ...]
    is_open: bool
    ends_with_call: bool

    @property
    def named(self) -> list[tuple[str, str]]:
        return [(name, arguments) for _, name, arguments in self.calls]


def ids() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"call_{next(numbers):024}"


def read(family: Family, pieces: Iterable[str], tools: Sequence[Tool] = TOOLS) -> Answer:
    """Parse an answer that comes in pieces, and check that the deltas are what clients can put together.

    White space around calls is left out.
    """
    parser = family.parser(tools, ids())
    margins = CallMargins()
    content = ""
    calls: list[list[str]] = []
    for piece_or_end in itertools.chain(pieces, [None]):
        out = parser.flush() if piece_or_end is None else parser.feed(piece_or_end)
        for piece in out:
            if isinstance(piece, str):
                assert piece
                content += margins.feed(piece)
                continue
            assert isinstance(piece, CallDelta)
            if piece.index == len(calls):
                assert piece.id
                assert piece.name
                margins.note_call()
                calls.append([piece.id, piece.name, piece.arguments])
                continue
            assert piece.index == len(calls) - 1
            assert not piece.id
            assert not piece.name
            assert piece.arguments
            calls[-1][2] += piece.arguments
        assert parser.num_calls >= len(calls)
    assert parser.num_calls == len(calls)
    content += margins.flush()
    called = tuple((call_id, name, text) for call_id, name, text in calls)
    return Answer(content, called, parser.is_open, parser.ends_with_call)


def say(name: str, *parts: str | Sequence[tuple[str, str]]) -> str:
    """An answer of text and calls in a format's way."""
    family = FORMATS.get(name) or TAGGED[name]
    answer = ""
    for number, part in enumerate(parts):
        if isinstance(part, str):
            answer += (HEADS.get(name, "") if number == 0 else "\n") + part
        else:
            switch = SWITCHES.get(name, "") if number else ""
            answer += ("\n" if number else "") + switch + family.write_calls(part)
    return answer


def spaced(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
