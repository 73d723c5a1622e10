"""Responses that others may go on from, in memory, until there is no room for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

# What finding an item by its id takes up: the id, and its place among others. A test measures it.
_ITEM_ID_BYTES = 300


@dataclass(eq=False)
class Turn:
    """What one response added to a conversation. What came before it is there for as long as it is."""

    previous: Turn | None
    input: bytes
    """Its input's items, as a JSON array."""
    response: bytes
    """The whole response, as JSON."""
    item_ids: tuple[str, ...] = ()
    """Those of its items, input's and output's, that are found by their ids."""
    kept_as: str | None = None
    """The id it is kept by; None where it is not, or only for what goes on from it."""
    num_holders: int = 0
    """Whether it is kept by an id, and how many later turns that are kept go on from it."""

    @property
    def num_bytes(self) -> int:
        """What it takes up by itself, and what finding its items does."""
        return len(self.input) + len(self.response) + _ITEM_ID_BYTES * len(self.item_ids)

    def conversation(self) -> Iterator[Turn]:
        """All turns up to this one, latest first."""
        turn: Turn | None = self
        while turn is not None:
            yield turn
            turn = turn.previous


class ResponseStore:
    """Keeps the responses that were used last, so many of them and so many bytes; with room for none, none.

    A conversation's earlier turns are kept once, however many later ones go on from them, and for as long as these
    are, though they may no longer be found by their own ids. Their items are found for as long as they are kept.
    """

    def __init__(self, max_responses: int, max_bytes: int) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._num_bytes = 0
        # In the order in which they were used, the latest last.
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        # By an item's id, those that have it, the latest last: an item may be part of several conversations.
        self._item_holders: dict[str, list[Turn]] = {}

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def keeps_any(self) -> bool:
        """Whether there is any use in keeping a response."""
        return self._max_responses > 0 and self._max_bytes > 0

    @property
    def num_bytes(self) -> int:
        """What is kept takes up, conversations' earlier turns included."""
        return self._num_bytes

    def find(self, response_id: str) -> Turn | None:
        """The response of that id, which counts as its use; None where it is not kept."""
        turn = self._turns.get(response_id)
        if turn is not None:
            self._turns.move_to_end(response_id)
        return turn

    def find_item(self, item_id: str) -> Turn | None:
        """The latest turn with the item of that id, which counts as its use; None where the item is not kept."""
        holders = self._item_holders.get(item_id)
        if holders is None:
            return None
        turn = holders[-1]
        if turn.kept_as is not None:
            self._turns.move_to_end(turn.kept_as)
        return turn

    def keep(self, response_id: str, turn: Turn) -> None:
        """Keep a response. What was not used for longest goes, and this one too where it is too large by itself."""
        self._turns[response_id] = turn
        turn.kept_as = response_id
        self._hold(turn)
        while len(self._turns) > self._max_responses or (self._num_bytes > self._max_bytes and self._turns):
            _, oldest = self._turns.popitem(last=False)
            self._release(oldest)

    def forget(self, response_id: str) -> bool:
        """Keep a response no longer; False where it was not kept."""
        turn = self._turns.pop(response_id, None)
        if turn is None:
            return False
        self._release(turn)
        return True

    def _hold(self, turn: Turn) -> None:
        """Keep a turn, and what it goes on from, for as long as it."""
        for held in turn.conversation():
            held.num_holders += 1
            if held.num_holders > 1:
                return
            self._num_bytes += held.num_bytes
            for item_id in held.item_ids:
                self._item_holders.setdefault(item_id, []).append(held)

    def _release(self, turn: Turn) -> None:
        """Keep a turn no longer by its id, and at all only where others go on from it."""
        turn.kept_as = None
        for held in turn.conversation():
            held.num_holders -= 1
            if held.num_holders:
                return
            self._num_bytes -= held.num_bytes
            for item_id in held.item_ids:
                self._lose_item(item_id, held)

    def _lose_item(self, item_id: str, turn: Turn) -> None:
        holders = self._item_holders[item_id]
        holders.remove(turn)
        if not holders:
            del self._item_holders[item_id]
