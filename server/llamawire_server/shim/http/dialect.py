"""What an API says in a form of its own, whichever of its paths is asked for: its failures, and a request's id."""

from __future__ import annotations

from typing import Protocol

from starlette.types import Scope

from llamawire_server.errors import ServiceError
from llamawire_server.shim.http.response_types import Json


class Dialect(Protocol):
    """How an API writes what no endpoint writes: bodies of failures, foreseen or not, and headers."""

    @property
    def request_id_headers(self) -> tuple[str, ...]:
        """Headers that have the request's id in every answer, beside the one that all answers have."""
        ...

    def error(self, error: ServiceError, request_id: str) -> Json:
        """The body of the answer to a call that failed."""
        ...

    def http_error(self, status: int, message: str, request_id: str) -> Json:
        """The body of the answer to what is no call: a path that there is not, a method that a path has not."""
        ...


class Dialects:
    """Which dialect is spoken at which path."""

    def __init__(self, default: Dialect) -> None:
        """default: spoken wherever no other one is."""
        self._default = default
        self._by_path: dict[str, Dialect] = {}

    def add(self, path: str, dialect: Dialect) -> None:
        """Speak `dialect` at this path and at all below it, those that lead nowhere included."""
        self._by_path[path] = dialect

    def at(self, path: str) -> Dialect:
        """The dialect that is spoken there."""
        for beginning, dialect in self._by_path.items():
            if path == beginning or path.startswith(f"{beginning}/"):
                return dialect
        return self._default


def dialect_of(scope: Scope) -> Dialect:
    """The dialect that a request is answered in."""
    dialect: Dialect = scope["state"]["dialect"]
    return dialect
