"""How many threads compute, on a machine that others use too."""

from __future__ import annotations

from collections.abc import Callable


class ThreadCount:
    """Follows the cores that are really there.

    llama.cpp's threads wait for each other, spinning, several hundred times a step: as soon as one of them has to
    share its core, all of them go at the pace of that one, and two threads can be ten times as slow as one. What
    a step took of the processor shows it: `count` threads that run undisturbed take `count` seconds each second.
    """

    # Cores that a step may go without. What the server itself takes on two cores is below a fifth.
    _TOLERATED_CORES = 0.35
    _WINDOW_SECONDS = 0.25
    _FIRST_WAIT_SECONDS = 2.0
    _LONGEST_WAIT_SECONDS = 60.0

    def __init__(self, most: int, apply: Callable[[int], None]) -> None:
        """most: threads to begin with, and never to exceed. apply: makes the next steps use so many."""
        self.count = most
        self._most = most
        self._apply = apply
        self._cpu_seconds = self._wall_seconds = 0.0
        self._seconds_at_count = 0.0
        self._wait_seconds = self._FIRST_WAIT_SECONDS
        self._is_trial = False

    def observe(self, cpu_seconds: float, wall_seconds: float) -> None:
        """Take in a step: the processor time of all threads, and how long it took."""
        self._cpu_seconds += cpu_seconds
        self._wall_seconds += wall_seconds
        if self._wall_seconds < self._WINDOW_SECONDS:
            return
        missing = self.count - self._cpu_seconds / self._wall_seconds
        self._seconds_at_count += self._wall_seconds
        self._cpu_seconds = self._wall_seconds = 0.0
        if missing > self._TOLERATED_CORES and self.count > 1:
            if self._is_trial:
                # The others are still there: look again later.
                self._wait_seconds = min(2 * self._wait_seconds, self._LONGEST_WAIT_SECONDS)
            self._change(max(1, self.count - max(1, round(missing))), is_trial=False)
        elif self._is_trial:
            self._is_trial = False
            self._wait_seconds = self._FIRST_WAIT_SECONDS
        elif self.count < self._most and self._seconds_at_count >= self._wait_seconds:
            self._change(self.count + 1, is_trial=True)

    def _change(self, count: int, *, is_trial: bool) -> None:
        self.count = count
        self._is_trial = is_trial
        self._seconds_at_count = 0.0
        self._apply(count)
