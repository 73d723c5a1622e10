"""What a schema says of a string, as regular expressions of all of a text that is written as it is."""

from __future__ import annotations

import re
from typing import Any

from llamawire_server.chat.schema.formats import PATTERNS

KEYWORDS = frozenset({"minLength", "maxLength", "pattern", "format"})
"""Those that are said of strings."""

_ANY = r"(.|\n)"

# The parts of an expression: escapes, classes (which may have classes in them), and single characters.
_PART = re.compile(
    r"\\(?:[pP]\{[^}]*\}|.)|\[(?:\\.|\[(?:\\.|[^\\\]])*\]|[^\\\[\]])*\]|\(\?:|.",
    re.DOTALL,
)
# What is about a place and no character.
_PLACES = frozenset({"^", "$", r"\b", r"\B", r"\A", r"\z"})
# What may not stand between slashes as it is.
_UNSLASHED = re.compile(r"\\.|[/\n]", re.DOTALL)
_SLASHED = {"/": r"\/", "\n": r"\n"}

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_GROUP = "[0-9a-fA-F]{1,4}"
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_HOSTNAME = rf"{_LABEL}(?:\.{_LABEL})*"
_ATOM = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
_DAYS = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
_HOURS = "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_REGISTERED = r"(?:[a-zA-Z0-9._~!$&'()*+,;=-]|%[0-9a-fA-F]{2})"
_SEGMENT = r"(?:[a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})"
_QUERY = r"(?:[a-zA-Z0-9._~!$&'()*+,;=:@/?-]|%[0-9a-fA-F]{2})*"

# RFC 3339's appendix A, RFC 5321 4.1.2 (without quotes and addresses), RFC 1123 2.1, RFC 2673 3.2, RFC 4291 2.2
# (without dotted ends), RFC 9562 4, RFC 3986 (without addresses of IPv6).
_FORMATS = {
    **{name: pattern.removeprefix("^").removesuffix("$") for name, pattern in PATTERNS.items()},
    "duration": f"P(?:{_DAYS}(?:{_HOURS})?|{_HOURS}|[0-9]+W)",
    "email": rf"{_ATOM}(?:\.{_ATOM})*@{_HOSTNAME}",
    "hostname": _HOSTNAME,
    "ipv4": _IPV4,
    "ipv6": "|".join(
        [
            f"(?:{_GROUP}:){{7}}{_GROUP}",
            f"(?:{_GROUP}:){{1,7}}:",
            *(f"(?:{_GROUP}:){{1,{7 - count}}}(?::{_GROUP}){{1,{count}}}" for count in range(1, 7)),
            f":(?::{_GROUP}){{1,7}}",
            "::",
        ]
    ),
    "uuid": "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "uri": (
        rf"[a-zA-Z][a-zA-Z0-9+.-]*:(?://(?:(?:{_REGISTERED}|:)*@)?{_REGISTERED}*(?::[0-9]*)?(?:/{_SEGMENT}*)*"
        rf"|/(?:{_SEGMENT}+(?:/{_SEGMENT}*)*)?|{_SEGMENT}+(?:/{_SEGMENT}*)*)?(?:\?{_QUERY})?(?:\#{_QUERY})?"
    ),
}


def expressions(schema: dict[str, Any]) -> list[str]:
    """What a schema's own keywords ask of a string: expressions for between slashes, each of which is to match all of
    it.

    Raises ValueError for a pattern that can't be written so.
    """
    found: list[str] = []
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if least or most is not None:
        found.append(f"{_ANY}{{{int(least)},{'' if most is None else int(most)}}}")
    if "pattern" in schema:
        found.append(_whole(schema["pattern"]))
    if schema.get("format") in _FORMATS:
        found.append(_slashed(_FORMATS[schema["format"]]))
    return found


def _whole(pattern: str) -> str:
    """An expression of the texts in which the pattern is found somewhere."""
    branches: list[list[str]] = [[]]
    depth = 0
    for part in _PART.findall(pattern):
        if part == "|" and not depth:
            branches.append([])
            continue
        depth += (part in ("(", "(?:")) - (part == ")")
        branches[-1].append(part)
    return _slashed("|".join(map(_whole_branch, branches)))


def _whole_branch(parts: list[str]) -> str:
    """The same for a pattern without alternatives."""
    begins, ends = parts[:1] == ["^"], parts[-1:] == ["$"]
    inner = parts[begins : len(parts) - ends]
    if _PLACES.intersection(inner):
        raise ValueError("a pattern may say of places only where a text begins and ends")
    text = "".join(inner)
    return f"{'' if begins else f'{_ANY}*'}(?:{text}){'' if ends else f'{_ANY}*'}"


def _slashed(expression: str) -> str:
    return _UNSLASHED.sub(lambda match: _SLASHED.get(match[0], match[0]), expression)
