"""Counts letters: by reason, application and day."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from worker.tools.dead_letters.record import StoredRecord


@dataclass(slots=True)
class Statistics:
    """What has been counted.

    An application that can't be read from the value counts as `unknown`.
    """

    records: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    by_application: Counter[str] = field(default_factory=Counter)
    by_day: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, letter: StoredRecord) -> None:
        """Count one more."""
        self.records += 1
        self.by_reason[letter.reason] += 1
        self.by_application[
            "unknown" if letter.application_id is None else str(letter.application_id)
        ] += 1
        self.by_day[letter.day][letter.reason] += 1

    def document(self) -> dict[str, object]:
        """For machines."""
        return {
            "records": self.records,
            "by_reason": dict(self.by_reason.most_common()),
            "by_application": dict(self.by_application.most_common()),
            "by_day": {
                day: dict(counts.most_common()) for day, counts in sorted(self.by_day.items())
            },
        }


# Eighths of a cell, so that a short bar still says something.
_PARTS = " ▏▎▍▌▋▊▉"
BAR_CELLS = 40


def bar(count: int, largest: int) -> str:
    """A bar whose length is to the longest as the count is to the largest."""
    eighths = round(BAR_CELLS * 8 * count / largest) if largest else 0
    eighths = max(eighths, 1 if count else 0)
    return ("█" * (eighths // 8) + _PARTS[eighths % 8]).rstrip()
