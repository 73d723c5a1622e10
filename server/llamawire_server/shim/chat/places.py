"""Where the messages of a chat request came from, for callers whose requests have them in another form."""

from __future__ import annotations

import re

_MESSAGE = re.compile(r"^messages\[(\d+)]\.?")


class Places:
    """For each message, in their order, what the caller calls it and its fields."""

    def __init__(self) -> None:
        self._messages: list[dict[str, str]] = []

    def add(self, place: str, **names: str) -> dict[str, str]:
        """Note the next message's place, which a field without a name of its own is called by.

        Gives the names of its fields, for more to be added: from a field's path within the message, such as
        `tool_calls[0].id`, to the caller's path. A name stands for all below it that has none.
        """
        self._messages.append({"": place, **names})
        return self._messages[-1]

    def rename(self, name: str) -> str:
        """The caller's path of a field of a message; any other name as it is."""
        found = _MESSAGE.match(name)
        if found is None or int(found[1]) >= len(self._messages):
            return name
        names = self._messages[int(found[1])]
        known = field = name[found.end() :]
        while known and known not in names:
            known = known[: max(known.rfind("."), known.rfind("["), 0)]
        return names[known] + field[len(known) :] if known else names[""]
