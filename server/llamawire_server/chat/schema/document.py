"""A JSON schema as a document: its places, and what its references lead to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin

from llamawire_server.grammar_errors import GrammarError

# serde_json reads 128 levels, and llguidance puts some of its own around a schema.
MAX_LEVELS = 100
MAX_POINTER_CHARACTERS = 300

# What these have is data, or names, and no schema.
DATA_KEYWORDS = frozenset({"const", "enum", "default", "examples", "required", "type"})
# What these have are schemas by name.
MAP_KEYWORDS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


class Place(NamedTuple):
    """A place in a document."""

    parent: Place | None = None
    token: str = ""

    def __truediv__(self, token: str | int) -> Place:
        return Place(self, str(token))

    @property
    def whole_pointer(self) -> str:
        """The place as a JSON pointer (RFC 6901); the whole document is the empty one."""
        tokens: list[str] = []
        place = self
        while place.parent is not None:
            tokens.append("/" + place.token.replace("~", "~0").replace("/", "~1"))
            place = place.parent
        return "".join(reversed(tokens))

    @property
    def pointer(self) -> str:
        """The same for people to read: only the beginning of a long one."""
        pointer = self.whole_pointer
        return pointer if len(pointer) <= MAX_POINTER_CHARACTERS else f"{pointer[:MAX_POINTER_CHARACTERS]}…"


class Found(NamedTuple):
    """Something in a document, and where."""

    value: Any
    place: Place


class Document:
    """A schema that is read: values of Python, as json.loads gives them."""

    def __init__(self, root: Any) -> None:
        """Raises GrammarError where it is nested too deeply."""
        self.root = root
        self._bases: dict[int, str] = {}
        """The URI that references are relative to, by the id() of the object they are in."""
        self._resources: dict[str, Found] = {"": Found(root, Place())}
        self._anchors: dict[tuple[str, str], Found] = {}
        self._index()

    def resolve(self, reference: str, node: dict[str, Any]) -> Found:
        """What a reference in `node` leads to. Raises LookupError, whose text says why it leads nowhere."""
        base = self._bases.get(id(node), "")
        uri, _, fragment = reference.partition("#")
        uri = urljoin(base, uri) if uri else base
        resource = self._resources.get(uri)
        if resource is None:
            raise LookupError("it leads to another document, and none is fetched")
        fragment = unquote(fragment)
        if not fragment:
            return resource
        if not fragment.startswith("/"):
            try:
                return self._anchors[uri, fragment]
            except KeyError:
                raise LookupError("there is no such anchor") from None
        return _follow(resource, fragment)

    def _index(self) -> None:
        """Note the bases, resources and anchors of all objects."""
        waiting: list[tuple[Found, str, int, bool]] = [(Found(self.root, Place()), "", 0, False)]
        while waiting:
            (value, place), base, level, is_map = waiting.pop()
            if level > MAX_LEVELS:
                raise GrammarError(f"it is nested more than {MAX_LEVELS} levels deep", place.pointer)
            if isinstance(value, dict) and not is_map:
                base = self._note(Found(value, place), base)
            for key, child in _children(value):
                is_data = isinstance(value, dict) and not is_map and key in DATA_KEYWORDS
                if is_data:
                    _check_levels(Found(child, place / key), level + 1)
                else:
                    is_named = isinstance(value, dict) and not is_map and key in MAP_KEYWORDS
                    waiting.append((Found(child, place / key), base, level + 1, is_named))

    def _note(self, found: Found, base: str) -> str:
        """Note an object that may be a schema; gives the base of what is in it."""
        node = found.value
        identifier = node.get("$id")
        if isinstance(identifier, str) and not identifier.startswith("#"):
            base = urljoin(base, identifier.removesuffix("#"))
            self._resources.setdefault(base, found)
        self._bases[id(node)] = base
        for keyword in ("$anchor", "$dynamicAnchor"):
            anchor = node.get(keyword)
            if isinstance(anchor, str):
                self._anchors.setdefault((base, anchor), found)
        return base


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _check_levels(found: Found, level: int) -> None:
    waiting = [(found, level)]
    while waiting:
        (value, place), level = waiting.pop()
        if level > MAX_LEVELS:
            raise GrammarError(f"it is nested more than {MAX_LEVELS} levels deep", place.pointer)
        waiting += [(Found(child, place / key), level + 1) for key, child in _children(value)]


def _follow(found: Found, pointer: str) -> Found:
    value, place = found
    for token in pointer.split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(token) if isinstance(value, list) else token]
        except (LookupError, ValueError, TypeError):
            raise LookupError("there is nothing at that place") from None
        place = place / token
    return Found(value, place)


def moved(schema: Any, pointer: str) -> Any:
    """A copy of a whole schema that stands at a place of another document: its references lead where they led.

    pointer: to that place, as JSON has it. Those by a name or another URI stay as they are.
    """
    if isinstance(schema, list):
        return [moved(item, pointer) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: moved(value, pointer) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        copy["$ref"] = f"#{pointer}{reference[1:]}"
    return copy
