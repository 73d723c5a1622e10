"""A call's arguments where a limit cut them."""

from __future__ import annotations

import json

from pydantic_core import from_json


def as_object(arguments: str) -> str:
    """Arguments as a JSON object: as they are where they are one, else what there is of a cut one."""
    try:
        found = from_json(arguments, allow_inf_nan=False, allow_partial=True)
    except ValueError:
        return "{}"
    if not isinstance(found, dict):
        return "{}"
    try:
        from_json(arguments, allow_inf_nan=False)
    except ValueError:
        return json.dumps(found, ensure_ascii=False)
    return arguments
