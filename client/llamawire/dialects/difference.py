"""What JSON that was read says beside the fields it became: found when it is read, put back when it is written."""

from __future__ import annotations

import json
from typing import Any

from llamawire.v1 import dialect_pb2


def difference(written: Any, read: Any) -> dialect_pb2.Dialect:
    """How JSON that was read differs from what is written of its fields. Both are as `json.loads` gives them."""
    dialect = dialect_pb2.Dialect()
    _compare(written, read, "", dialect)
    # The order of keys is no difference.
    dialect.absent.sort()
    dialect.nulls.sort()
    return dialect


def apply(written: Any, dialect: dialect_pb2.Dialect) -> Any:
    """The JSON that was read, of what is written of its fields; `written` is changed.

    No place of a dialect is inside of another one, so their order does not matter. Places that are not there any more
    are passed over. Raises ValueError where a value of the dialect is no JSON.
    """
    root = {"": written}
    for place in dialect.absent:
        parent, key = _find(root, place)
        if isinstance(parent, dict):
            parent.pop(key, None)
    for place in dialect.nulls:
        _put(root, place, None)
    for place, value in dialect.values.items():
        _put(root, place, json.loads(value))
    return root[""]


def _compare(written: Any, read: Any, place: str, dialect: dialect_pb2.Dialect) -> None:
    if isinstance(written, dict) and isinstance(read, dict) and all(map(_is_utf8, read)):
        dialect.absent.extend(_inside(place, key) for key in written if key not in read)
        for key, value in read.items():
            if key in written:
                _compare(written[key], value, _inside(place, key), dialect)
            else:
                _note(value, _inside(place, key), dialect)
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, (ours, theirs) in enumerate(zip(written, read, strict=True)):
            _compare(ours, theirs, f"{place}/{index}", dialect)
    elif type(written) is not type(read) or written != read:  # 1, 1.0 and true are equal in Python alone
        _note(read, place, dialect)


def _note(value: Any, place: str, dialect: dialect_pb2.Dialect) -> None:
    if value is None:
        dialect.nulls.append(place)
    else:
        # In ASCII: halves of surrogate pairs are allowed in JSON, but not in a proto's text.
        dialect.values[place] = json.dumps(value, separators=(",", ":"), allow_nan=False)


def _inside(place: str, key: str) -> str:
    return f"{place}/{key.replace('~', '~0').replace('/', '~1')}"


def _find(root: Any, place: str) -> tuple[Any, str]:
    """The container that a place is in, None where there is none, and the place's key in it."""
    *above, last = [part.replace("~1", "/").replace("~0", "~") for part in place.split("/")]
    container = root
    for key in above:
        if isinstance(container, dict):
            container = container.get(key)
        elif isinstance(container, list):
            container = container[int(key)] if _is_index(key, container) else None
        else:
            return None, last
    return container, last


def _put(root: Any, place: str, value: Any) -> None:
    container, key = _find(root, place)
    if isinstance(container, dict):
        container[key] = value
    elif isinstance(container, list) and _is_index(key, container):
        container[int(key)] = value


def _is_index(key: str, container: list[Any]) -> bool:
    return key.isascii() and key.isdigit() and int(key) < len(container)


def _is_utf8(key: str) -> bool:
    if key.isascii():
        return True
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
