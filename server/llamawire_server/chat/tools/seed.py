"""Seed-OSS: as Qwen3-Coder, with tags of its own around a call, and values right between theirs."""

from __future__ import annotations

from llamawire_server.chat.tools.argument_tags import ArgumentTags
from llamawire_server.chat.tools.qwen_coder import QwenCoder


class Seed(QwenCoder):
    """`<seed:tool_call>`, `<function=NAME>`, for each argument `<parameter=NAME>VALUE</parameter>`, `</function>` and
    `</seed:tool_call>`, each in a line of its own."""

    name = "seed"
    opening = "<seed:tool_call>"
    closing = "</seed:tool_call>"
    markers = (opening, closing, "</function>")
    tags = ArgumentTags("<parameter=", ">", "</parameter>", call_ends=("</function>", "</seed:tool_call>"))
