"""From the times at which tokens came to the figures that are compared. All times are in seconds."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

Times = Sequence[float]
"""When the chunks of one stream came, ascending."""

Interval = tuple[float, float]


def percentile(values: Iterable[float], percent: float) -> float:
    """With linear interpolation, like numpy's. percent: in [0, 100]. Raises ValueError where there is no value."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a percentile of nothing")
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def gaps(times: Times) -> list[float]:
    """Between every two chunks that follow one another."""
    return [after - before for before, after in itertools.pairwise(times)]


def gaps_touching(times: Times, interval: Interval) -> list[float]:
    """The gaps that an interval has a part in; one that outlasts the interval counts whole."""
    begin, end = interval
    return [after - before for before, after in itertools.pairwise(times) if after > begin and before < end]


def crowded_intervals(streams: Iterable[Times], num_together: int) -> list[Interval]:
    """When at least `num_together` streams were between their first and their last chunk."""
    changes = sorted((time, step) for times in streams for time, step in ((times[0], 1), (times[-1], -1)))
    found: list[Interval] = []
    running, begin = 0, 0.0
    for time, step in changes:
        if running >= num_together > running + step:
            found.append((begin, time))
        elif running < num_together <= running + step:
            begin = time
        running += step
    return [(begin, end) for begin, end in found if end > begin]


def decode_rate(streams: Sequence[Times], num_together: int, tokens_per_chunk: float = 1.0) -> float:
    """Tokens a second of all streams, while at least `num_together` of them generate.

    A token counts for as much as of the gap before it lies in that time. Raises ValueError where so many never ran
    together.
    """
    intervals = crowded_intervals(streams, num_together)
    seconds = sum(end - begin for begin, end in intervals)
    if not seconds:
        raise ValueError(f"no {num_together} streams ever ran together")
    pairs = itertools.chain.from_iterable(itertools.pairwise(times) for times in streams)
    return sum(_share_within(pair, intervals) for pair in pairs) * tokens_per_chunk / seconds


def _share_within(gap: Interval, intervals: Iterable[Interval]) -> float:
    begin, end = gap
    if end <= begin:
        return float(any(first <= begin <= last for first, last in intervals))
    return sum(max(0.0, min(end, last) - max(begin, first)) for first, last in intervals) / (end - begin)


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float | None:
    """The median of the rounds' ratios; None where one side is missing or nothing."""
    if not over or not under or not all(under):
        return None
    # A round that was cut short has one value more on one side.
    return statistics.median(a / b for a, b in zip(over, under, strict=False))
