"""In the place of what a model can't do."""

from __future__ import annotations

from llamawire_server.worker.child.forms import Made
from llamawire_server.worker.child.prompts import RequestError
from llamawire_server.worker.embedding_messages import Embed
from llamawire_server.worker.messages import Event, Generate


class _NoWork:
    has_work = False

    def __init__(self, why: str) -> None:
        """why: what callers are told."""
        self._why = why

    def cancel(self, request_id: int) -> None:
        """There is nothing to cancel."""

    def schedule(self) -> list[Event]:
        """There is nothing to do."""
        return []

    def run(self) -> list[Event]:
        """There is nothing to do."""
        return []


class NoGenerations(_NoWork):
    """In the place of `Generations`, for a model that generates nothing."""

    is_making_form = False
    next_form = None

    def start(self, request: Generate) -> list[Event]:
        """Raises RequestError."""
        raise RequestError("UNSUPPORTED", "NOT_GENERATIVE", self._why, "model")

    def begin_form(self) -> None:
        """Nothing: there are none."""

    def wait_for_form(self, seconds: float) -> None:
        """Nothing: there are none."""

    def take_form(self) -> Made | None:
        """None."""
        return None

    def admit(self, made: Made) -> list[Event]:
        """Nothing: there are none."""
        return []


class NoEmbeddings(_NoWork):
    """In the place of `Embeddings`, for a model that gives no vectors."""

    rests_at = None

    def rest(self) -> None:
        """Nothing: there is nothing to give back."""

    def start(self, request: Embed) -> list[Event]:
        """Raises RequestError."""
        raise RequestError("UNSUPPORTED", "NO_EMBEDDINGS", self._why, "model")
