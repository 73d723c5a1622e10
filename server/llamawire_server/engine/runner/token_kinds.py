"""Which tokens stand for themselves, and for no text."""

from __future__ import annotations

import llama_cpp

_CONTROL = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN

MAY_BE_SPECIAL = _CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
"""Tokens without any of these attributes are text."""


def is_special(attributes: int, name: bytes) -> bool:
    """Whether a token with these attributes and this name is no text.

    Control tokens have no bytes where text is made of them. Markers like `<think>` are text to llama.cpp; a grammar
    and a style of reasoning are to have them where they name them, and not wherever text may be.
    """
    if attributes & _CONTROL:
        return True
    is_marker = name.startswith(b"<") and name.endswith(b">")
    return is_marker and bool(attributes & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED)
