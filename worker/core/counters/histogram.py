"""Counting values into buckets: cheap enough for every event, exact enough for an alert."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence


class Histogram:
    """Counts of observed values by upper bound, and their sum. The last bucket is everything above
    the bounds.

    Prometheus takes the sum for a counter: whoever observes must see to it that no value is
    negative.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        if list(bounds) != sorted(set(bounds)):
            raise ValueError("bounds must rise")
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value; a bound belongs to the bucket below it, as Prometheus has it (`le`)."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: Iterable[float]) -> None:
        """Count many values at once."""
        for value in values:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.sum += value

    def cumulative(self) -> list[int]:
        """How many values lie at or below each bound, then how many there are in all."""
        total = 0
        result = []
        for number in self.counts:
            total += number
            result.append(total)
        return result
