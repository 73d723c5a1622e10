"""Names of models, in the one form in which they are compared."""

from __future__ import annotations

MAX_NAME_LENGTH = 256
"""The most characters of a name. Longer ones are not looked for."""


def normalize(name: str) -> str:
    """The form in which names are compared: without white space around it, in lower case."""
    return name.strip().lower()


def forms(name: str) -> tuple[str, ...]:
    """What to look for, in order: the name itself, then `name` alone where it is `name:tag`."""
    wanted = normalize(name)
    base = normalize(wanted.rpartition(":")[0])
    return (wanted, base) if base else (wanted,)
