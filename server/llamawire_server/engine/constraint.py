"""What a sequence's tokens may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Mask: TypeAlias = "npt.NDArray[np.uint32]"
"""One bit a token of the vocabulary, the lowest bit first, (words of 32 bits,). Bits beyond the vocabulary may be
anything."""


class ConstraintError(Exception):
    """A sequence's constraint can't say what may come next; the sequence can't go on. The text says why."""


class Constraint(Protocol):
    """What a sequence's tokens may be; knows the place that comes next.

    It is the sequence's own: siblings have one each. One thread at a time may use it.
    """

    @property
    def num_tokens(self) -> int:
        """How many tokens have come."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether nothing may come any more: an end token has come, or all is said and there is no token to end
        with."""
        ...

    def prepare(self, draft: Sequence[int] = ()) -> None:
        """Begin to compute the mask of the next place, and of those after tokens of the draft; returns at once. The
        draft may or may not come."""
        ...

    def mask(self) -> Mask | None:
        """What may come next; None: anything. Waits for what `prepare` began. Raises ConstraintError."""
        ...

    def accept(self, token: int) -> None:
        """The token has come, which may be an end token. Raises ConstraintError for one that may not."""
        ...

    def num_allowed(self, tokens: Sequence[int]) -> int:
        """How many of a draft's tokens may come, from its first on. End tokens are never among them."""
        ...

    def forced(self) -> list[int]:
        """What comes next whatever is sampled, as there is no choice; mostly nothing. Drafts that are right."""
        ...

    def rewind(self, num_tokens: int) -> None:
        """Of the tokens that have come, only the first so many have. Raises ConstraintError where there never were so
        many."""
        ...
