"""Which family a model is of, by its chat template."""

# ruff: noqa: RUF001 - DeepSeek's markers have bars that are as wide as that

from __future__ import annotations

import re

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
from llamawire_server.chat.tools.template_traits import PROBE_FUNCTION, TemplateTraits, find_traits
from llamawire_server.chat.tools.tool_format import Tool, ToolFormat

_PYTHON_PARAMETERS = re.compile(r'"parameters":\s*dictionary of argument name')


def find_format(template: str | None) -> ToolFormat:
    """How the models of a chat template (its source) call tools; in plain text where it is no known way.

    A template that writes calls out in another way than the family that its markers speak for is of none.
    """
    traits = find_traits(template)
    family = _find_family(template or "", traits)
    return family if _reads_calls_of(family, traits) else Generic(traits)


def _find_family(template: str, traits: TemplateTraits) -> Family:
    """By its markers."""
    if "<|channel|>" in template and "<|message|>" in template and "functions" in template:
        return Harmony(traits)
    if ">>>all" in template:
        return FunctionaryRecipients(traits)
    if "<seed:tool_call>" in template:
        return Seed(traits)
    if "<minimax:tool_call>" in template:
        return MiniMax(traits)
    if "<function=" in template and "<parameter=" in template:
        return QwenCoder(traits)
    if "<function=" in template and "</function>" in template:
        return Functionary(traits)
    if "<arg_key>" in template:
        return GLM(traits, template)
    if "<|tool_call_argument_begin|>" in template:
        return Kimi(traits)
    if "[TOOL_CALLS]" in template:
        return Mistral(traits, template)
    if "<｜tool▁call▁begin｜>" in template:
        return DeepSeek(traits, template)
    if "<|tool_call|>" in template and "<|start_of_role|>" in template:
        return Granite(traits)
    if "<|tool_call|>" in template or "<|tool|>" in template or "functools[" in template:
        return Phi(traits, template)
    if "<|python_tag|>" in template or _PYTHON_PARAMETERS.search(template):
        return Llama3(traits)
    if "named SmolLM" in template:
        # Only the third one thinks, and it was trained to call as Hermes does.
        return Hermes(traits) if "<think>" in template else SmolLM(traits)
    # Where calls are written out, but not as JSON, the marker is another family's.
    if "<tool_call>" in template and (traits.shows_calls or "tool_calls" not in template):
        return Hermes(traits)
    return Generic(traits)


def _reads_calls_of(family: Family, traits: TemplateTraits) -> bool:
    """Whether a family's parser finds the call that the template has written out, if it has."""
    text, begin = traits.shown_call
    if not text:
        return True
    # The beginning of a marker may be the same as that of what else an answer may begin with.
    for start in (begin, text.rfind("<", 0, begin + 1), 0):
        parser = family.parser([Tool(PROBE_FUNCTION)], lambda: "")
        parser.feed(text[max(start, 0) :])
        if parser.num_calls:
            return True
    return False
