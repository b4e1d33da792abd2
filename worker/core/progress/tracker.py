"""One assignment's offsets: received, settled, and the position that is safe to commit.

The rule: **a committed position never passes an unsettled record.** The safe position is the first
unsettled offset; if no record is unsettled, the offset after the last received record. Only
received offsets are recorded, so gaps (compaction, transaction markers) need no special case.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class Tracker:
    """The offsets of one partition in one epoch.

    `position` is where the next record is expected. Offsets must be tracked in rising order.

    Args:
        position: where the first record is expected.
        settled: ranges of offsets from there on, rising, that the commit metadata names as settled
            (by this or an earlier owner of the partition).
    """

    def __init__(self, position: int, settled: Sequence[tuple[int, int]] = ()) -> None:
        self._position = position
        # Settled ranges beyond the position: their records are received later and skipped then.
        self._foreseen = deque(settled)
        self._unsettled: set[int] = set()
        # The unsettled offsets in order, with some that have been settled since.
        self._in_order: deque[int] = deque()
        self._returned = 0

    @property
    def position(self) -> int:
        """The offset after everything received."""
        return self._position

    @property
    def unsettled(self) -> int:
        """How many received records aren't settled."""
        return len(self._unsettled)

    @property
    def in_motion(self) -> int:
        """How many unsettled records are still being worked on here, not given back."""
        return len(self._unsettled) - self._returned

    @property
    def span(self) -> int:
        """How far the received records reach beyond the safe position, in offsets."""
        return self._position - self.safe_position

    @property
    def safe_position(self) -> int:
        """The position that may be committed: no unsettled record lies below it."""
        in_order = self._in_order
        while in_order and in_order[0] not in self._unsettled:
            in_order.popleft()
        return in_order[0] if in_order else self._position

    def is_settled(self, offset: int) -> bool:
        """True for an offset that the commit metadata named as settled.

        Asked in rising order, before `track`.
        """
        while self._foreseen and self._foreseen[0][1] <= offset:
            self._foreseen.popleft()
        return bool(self._foreseen) and self._foreseen[0][0] <= offset

    @property
    def covers(self) -> bool:
        """True while anything beyond the position may be settled already."""
        return bool(self._foreseen)

    def settled_ranges(self) -> list[tuple[int, int]]:
        """Return the settled ranges from the safe position on, rising, each with an exclusive end.

        They include offsets that don't exist (gaps): no record will ever have these.
        """
        ranges: list[tuple[int, int]] = []
        expected = self.safe_position
        for offset in sorted(self._unsettled):
            if offset != expected:
                ranges.append((expected, offset))
            expected = offset + 1
        if self._unsettled and expected < self._position:
            ranges.append((expected, self._position))
        for start, end in self._foreseen:
            if ranges and max(start, self._position) <= ranges[-1][1]:
                ranges[-1] = (ranges[-1][0], max(end, ranges[-1][1]))
            elif end > self._position:
                ranges.append((max(start, self._position), end))
        return ranges

    def track(self, offsets: Sequence[int], next_offset: int) -> None:
        """Track received records; the next record is expected at `next_offset`."""
        if next_offset < self._position:
            raise ValueError(f"position {next_offset} is below {self._position}")
        self._unsettled.update(offsets)
        self._in_order.extend(offsets)
        self._position = next_offset

    def settle(self, offsets: Sequence[int]) -> None:
        """Settle records: delivered, duplicate, or acknowledged by another topic.

        Raises:
            KeyError: a record is not unsettled: it was settled before, or never received.
        """
        before = len(self._unsettled)
        self._unsettled.difference_update(offsets)
        if before - len(self._unsettled) != len(offsets):
            raise KeyError(f"{len(offsets) - before + len(self._unsettled)} are not unsettled")

    def give_back(self, count: int) -> None:
        """Leave this many of the unsettled records to the partition's next owner."""
        self._returned += count
        if self._returned > len(self._unsettled):
            raise ValueError(
                f"{self._returned} records given back of {len(self._unsettled)} unsettled"
            )
