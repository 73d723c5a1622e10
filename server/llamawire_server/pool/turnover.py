"""How fast the line at a model moves, from how long its requests held their places."""

from __future__ import annotations

# What one request weighs in the average: the last ten or so count.
WEIGHT = 0.1

# Who is sent away comes back no sooner and no later than this, in seconds.
SHORTEST_WAIT = 1.0
LONGEST_WAIT = 60.0


class Turnover:
    """The time that requests hold a place at one model, and what follows for those who find none."""

    def __init__(self) -> None:
        self.service_seconds: float | None = None
        """How long a request holds its place beside the time in line, on the average; None: none has left yet."""

    def note(self, held_seconds: float, place: int, parallel: int) -> None:
        """A request leaves that held a place for so long.

        place: its place when it came, from 1, those being answered included. parallel: how many are answered at once.
        """
        # Who came as the last of 80 where 8 are answered at once waited for ten times as long as it was at work.
        seconds = held_seconds * min(1.0, parallel / place)
        if self.service_seconds is None:
            self.service_seconds = seconds
        else:
            self.service_seconds += WEIGHT * (seconds - self.service_seconds)

    def seconds_until(self, num_leaving: int, parallel: int) -> float | None:
        """How long it takes until so many have left, as far as whoever is sent away is told of it.

        None where nothing is known of it yet.
        """
        if self.service_seconds is None:
            return None
        return min(max(SHORTEST_WAIT, num_leaving * self.service_seconds / parallel), LONGEST_WAIT)
