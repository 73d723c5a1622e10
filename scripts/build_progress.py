"""Progress of llama.cpp's build, read from pip's output."""

from __future__ import annotations

import re
import time
from typing import TextIO

# Ninja counts its steps; make, where there is no ninja, gives a share.
_STEP = re.compile(r"^\s*\[(?:\s*(?P<done>\d+)/(?P<total>\d+)|\s*(?P<percent>\d+)%)\]")
_WHEEL = re.compile(r"Building wheel for llama[-_]cpp[-_]python")

_BAR_WIDTH = 30
_PERCENT_BETWEEN_LINES = 10


class BuildProgress:
    """Shows how far the build is: a bar that moves on a terminal, a line every 10 % elsewhere."""

    def __init__(self, out: TextIO, log_name: str) -> None:
        self.has_compiled = False
        """Whether anything was compiled; not so when pip had a wheel of it."""

        self._out = out
        self._log_name = log_name
        self._is_announced = False
        self._shown_percent = 0
        self._start = time.monotonic()

    def feed(self, line: str) -> None:
        """Take in one line of pip's output."""
        step = _STEP.match(line)
        if step or _WHEEL.search(line):
            self._announce()
        if not step:
            return
        self.has_compiled = True
        percent = int(step["percent"] or 100 * int(step["done"]) // max(1, int(step["total"])))
        if percent > self._shown_percent:
            self._show(percent)

    def finish(self) -> None:
        """End the bar's line."""
        if self._shown_percent and self._out.isatty():
            self._out.write("\n")

    def _announce(self) -> None:
        if self._is_announced:
            return
        self._is_announced = True
        self._start = time.monotonic()
        self._out.write(
            "building llama.cpp from source: 3 to 9 minutes on two cores, once for this environment "
            f"(log: {self._log_name})\n"
        )
        self._out.flush()

    def _show(self, percent: int) -> None:
        elapsed = int(time.monotonic() - self._start)
        text = f"{percent:3} %  {elapsed // 60}:{elapsed % 60:02}"
        if self._out.isatty():
            filled = _BAR_WIDTH * percent // 100
            self._out.write(f"\r  [{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {text}")
        elif percent // _PERCENT_BETWEEN_LINES > self._shown_percent // _PERCENT_BETWEEN_LINES:
            self._out.write(f"  {text}\n")
        self._shown_percent = percent
        self._out.flush()
