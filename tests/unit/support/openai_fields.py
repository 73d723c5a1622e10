"""The fields of OpenAI's requests: as the installed SDK types them, and as the docs list them.

A field has a path: `messages[].content[text].text`. `[]` is an entry of a list; `[name]` is an entry, or a form of
the field, whose `type` is `name`, or the entry `name` of a list of words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from typing_extensions import get_type_hints, is_typeddict

PAGE = Path(__file__).parents[3] / "docs" / "openai-fields.md"

LISTS = {list, Iterable, Sequence}
PLAIN = {str, int, float, bool, object}

ROW = re.compile(r"^\| `([^`]+)` \| (honoured|no effect|refused) \|", re.MULTILINE)


def typed_fields(request: Any) -> dict[str, list[Any]]:
    """Every field of a request's type, however deep, and its values where these are all that it takes."""
    found: dict[str, list[Any]] = {}
    for path, values in _fields(request, ""):
        known = found.setdefault(path, [])
        known += [value for value in values if value not in known]
    return found


def documented_fields(section: str) -> dict[str, str]:
    """Every field of a section of the page, and what it says that becomes of it."""
    (text,) = [part for part in PAGE.read_text().split("\n## ")[1:] if part.startswith(f"{section}\n")]
    assert text.count("\n| `") == len(ROW.findall(text)), "each row says one of three things"
    fields = dict(ROW.findall(text))
    assert len(fields) == len(ROW.findall(text)), "and says it once"
    return fields


def refused_as(path: str, fields: dict[str, str]) -> re.Pattern[str]:
    """What an error calls a field that is refused, without the numbers: the outermost that is refused with it."""
    outer = [
        other
        for other in fields
        if fields[other] == "refused" and (path + ".").startswith((other + ".", other + "["))
    ]
    name = re.escape(min(outer, key=len))
    pattern = re.sub(r"\\\[\w+\\]", r"(\\[])?", name)
    return re.compile(pattern + (r"(\.type)?" if name.endswith("]") else ""))


def put(request: Any, path: str, new: Any) -> None:
    """Give the first field at this path of a request another value."""
    next(holders(request, path))[path.rpartition(".")[2]] = new


def holders(request: Any, path: str) -> Iterator[dict[str, Any]]:
    """The objects of a request that have the field at this path; for an entry or a form, what is one."""
    return _holders(request, re.findall(r"\[\w*]|\w+", path))


def _holders(value: Any, steps: list[str]) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for entry in value:
            yield from _holders(entry, steps)
    if not isinstance(value, dict):
        return
    step, *rest = steps
    is_of_type = step in ("[]", f"[{value.get('type')}]")
    inner = value if is_of_type else value.get(step)
    if inner is None:
        return
    if rest:
        yield from _holders(inner, rest)
    else:
        yield value


def _fields(kind: Any, path: str) -> Iterator[tuple[str, Sequence[Any]]]:
    for member in _members(kind):
        origin = get_origin(member)
        if is_typeddict(member):
            yield from _fields_of_object(member, path)
        elif origin in LISTS:
            (entry,) = get_args(member)
            words = get_args(entry) if get_origin(entry) is Literal else ()
            yield from ((f"{path}[{word}]", ()) for word in words)
            yield from _fields(entry, f"{path}[]")
        elif origin not in (dict, Literal) and member not in PLAIN:
            raise TypeError(f"{path}: of a kind that nobody has thought of: {member}")


def _fields_of_object(kind: Any, path: str) -> Iterator[tuple[str, Sequence[Any]]]:
    hints = get_type_hints(kind)
    names = get_args(hints.get("type"))
    if len(names) == 1:
        del hints["type"]
        path = f"{path.removesuffix('[]')}[{names[0]}]"
        yield path, ()
    for name, hint in hints.items():
        inner = f"{path}.{name}" if path else name
        yield inner, _values(hint)
        yield from _fields(hint, inner)


def _members(kind: Any) -> Iterator[Any]:
    """The members of a union, or the type itself, without None."""
    if get_origin(kind) in (Union, UnionType):
        for member in get_args(kind):
            yield from _members(member)
    elif kind is not NoneType:
        yield kind


def _values(kind: Any) -> list[Any]:
    members = list(_members(kind))
    if PLAIN & {member for member in members if isinstance(member, type)}:
        return []
    return [value for member in members if get_origin(member) is Literal for value in get_args(member)]
