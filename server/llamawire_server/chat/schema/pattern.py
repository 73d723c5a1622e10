"""Regular expressions of schemas, which are JavaScript's, as the grammar compiler has them: in Rust's words."""

from __future__ import annotations

import re

# The parts of an expression whose meaning depends on what they are in: escapes, classes, and the dot.
_PART = re.compile(r"\\(?:[pP](?:\{[^}]*\}|.)|.)|\[(?:\\.|[^\\\]])*\]|\.", re.DOTALL)
_IN_CLASS = re.compile(r"\\.|\[|&|~|-(?=-)", re.DOTALL)

# What a class needs to have all control characters, or all but one.
_MAY_BE_WIDE = re.compile(r"\^|.*(?:\\[Pxu0c]|[\x00-\x1f])", re.DOTALL)

# In Rust, these would be a class within the class, and sets to intersect or to take away.
_MEANT_LITERALLY = {"[": r"\[", "&": r"\&", "~": r"\~"}


def to_rust(pattern: str) -> str:
    """An expression that matches what the given one does, or a little less: no U+0000 where a class has all but some
    characters.

    Within strings of JSON, the compiler takes a class of all control characters for one of the quotation mark and the
    backslash too. Without one control character it does not.
    """
    return _PART.sub(_translated, pattern)


def _translated(match: re.Match[str]) -> str:
    part = match[0]
    if part == ".":
        return r"[^\n\r\u2028\u2029]"
    if part.startswith(r"\P"):
        return rf"[{part}--\u0000]"
    if not part.startswith("["):
        return part
    if part in ("[]", "[^]"):
        return part  # nothing or anything, to JavaScript; the compiler refuses them
    literal = _IN_CLASS.sub(lambda inner: _MEANT_LITERALLY.get(inner[0], inner[0]), part[1:-1])
    return rf"[[{literal}]--\u0000]" if _MAY_BE_WIDE.match(literal) else f"[{literal}]"
