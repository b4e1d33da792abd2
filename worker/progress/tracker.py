"""One assignment's offsets: received, settled, and the position that is safe to commit.

The rule: **a committed position never passes an unsettled record.** Safe is the first unsettled offset; with nothing unsettled,
the position after all that was received. Only received offsets are recorded, so gaps (compaction, transaction markers) need no
special case, and "the highest offset settled so far" appears nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable


class Tracker:
    """The offsets of one partition in one epoch.

    `position` is where the next record is expected. Offsets must be tracked in rising order.
    """

    def __init__(self, position: int) -> None:
        self._position = position
        # A dict, because it keeps the order of insertion: its first key is the first unsettled offset.
        self._unsettled: dict[int, None] = {}
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
        """How many of those are still being worked on here, not given back."""
        return len(self._unsettled) - self._returned

    @property
    def span(self) -> int:
        """How far what was received reaches beyond the safe position, in offsets."""
        return self._position - self.safe_position

    @property
    def safe_position(self) -> int:
        """What may be committed: no unsettled record lies below it."""
        return next(iter(self._unsettled), self._position)

    def track(self, offsets: Iterable[int], next_offset: int) -> None:
        """These records were received; the next one is expected at `next_offset`."""
        if next_offset < self._position:
            raise ValueError(f"position {next_offset} is below {self._position}")
        self._unsettled.update(dict.fromkeys(offsets))
        self._position = next_offset

    def settle(self, offset: int) -> None:
        """This record is done for: delivered, duplicate or acknowledged by the dead-letter topic.

        Raises:
            KeyError: it is not unsettled: it was settled before, or never received.
        """
        del self._unsettled[offset]

    def give_back(self, count: int) -> None:
        """So many of the unsettled records won't be worked on any more: they are left to the partition's next owner."""
        self._returned += count
        if self._returned > len(self._unsettled):
            raise ValueError(f"{self._returned} records given back of {len(self._unsettled)} unsettled")
