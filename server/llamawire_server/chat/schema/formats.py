"""Formats of strings that the grammar compiler does not know, or takes too lightly, as regular expressions."""

from __future__ import annotations

from typing import Any

_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    "(?:[0-9]{4}-(?:"
    "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8])"
    f")|{_LEAP_YEAR}-02-29)"
)
# Leap seconds are at midnight by universal time, of which other zones have many.
_TIME = (
    "(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]+)?(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
    "|23:59:60(?:[.][0-9]+)?(?:[zZ]|[+-]00:00))"
)
_POINTER = "(?:/(?:[^/~]|~[01])*)*"

PATTERNS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}[tT]{_TIME}$",
    "json-pointer": f"^{_POINTER}$",
    "relative-json-pointer": f"^(?:0|[1-9][0-9]*)(?:#|{_POINTER})$",
}


def spell_out(node: dict[str, Any]) -> None:
    """Say what a schema's format says by a pattern, where there is one for it."""
    name = node.get("format")
    if not isinstance(name, str) or name not in PATTERNS:
        return
    del node["format"]
    if "pattern" not in node:
        node["pattern"] = PATTERNS[name]
    elif isinstance(node.get("allOf", []), list):
        node["allOf"] = [*node.get("allOf", []), {"pattern": PATTERNS[name]}]
