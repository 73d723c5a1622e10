"""What was measured, by workload, setup and round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from bench.figures import median_ratio
from bench.workloads.workload import Values


class Results:
    """Filled round by round."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], dict[int, Values]] = {}

    def add(self, workload: str, setup: str, number: int, values: Values) -> None:
        """Note what a setup showed in a round."""
        self._values.setdefault((workload, setup), {})[number] = values

    def has(self, workload: str) -> bool:
        """Whether anything is known of a workload."""
        return any(name == workload for name, _ in self._values)

    def median(self, workload: str, setup: str, figure: str) -> float | None:
        """Over the rounds; None where there is no value."""
        values = self._rounds(workload, setup, figure).values()
        return statistics.median(values) if values else None

    def ratio(self, workload: str, figure: str, over: str, under: str) -> float | None:
        """The median of the rounds' ratios of two setups; None where a side has no value."""
        overs, unders = (self._rounds(workload, setup, figure) for setup in (over, under))
        common = sorted(overs.keys() & unders.keys())
        return median_ratio([overs[number] for number in common], [unders[number] for number in common])

    def difference(self, workload: str, figure: str, over: str, under: str) -> float | None:
        """The median of the rounds' differences of two setups; None where a side has no value."""
        overs, unders = (self._rounds(workload, setup, figure) for setup in (over, under))
        common = overs.keys() & unders.keys()
        return statistics.median(overs[number] - unders[number] for number in common) if common else None

    def as_json(self) -> list[dict[str, Any]]:
        """Every value of every round."""
        return [
            {"workload": workload, "setup": setup, "round": number, "values": values}
            for (workload, setup), rounds in self._values.items()
            for number, values in rounds.items()
        ]

    @classmethod
    def from_json(cls, entries: Iterable[dict[str, Any]]) -> Results:
        """What `as_json` gave."""
        results = cls()
        for entry in entries:
            results.add(entry["workload"], entry["setup"], entry["round"], entry["values"])
        return results

    def _rounds(self, workload: str, setup: str, figure: str) -> dict[int, float]:
        rounds = self._values.get((workload, setup), {})
        return {number: values[figure] for number, values in rounds.items() if figure in values}
