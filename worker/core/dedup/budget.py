"""How many keys all windows of a process remember together, shared between them by need.

A topic that nobody writes to needs no room, and a busy one may have all of it. Where no room is
left, the memory that holds most forgets its oldest generation. So a memory that holds less than
seven eighths of an equal share loses nothing to others, and one that asks for room while it holds
most pays for it itself.
"""

from __future__ import annotations

from typing import Protocol

# What one key takes at most: 16 bytes in an object of 64, and its place in the table of a set.
KEY_BYTES = 128


class Memory(Protocol):
    """One of those who share the budget."""

    @property
    def charged(self) -> int:
        """How many keys it holds, or has room for already."""

    def give_up_oldest(self) -> None:
        """Forget the oldest generation. Called only while something is charged."""


class KeyBudget:
    """The bound for the process, and those who share it.

    Args:
        rows_max: so many keys in all.
    """

    def __init__(self, rows_max: int) -> None:
        self.rows_max = rows_max
        self._memories: list[Memory] = []

    def join(self, memory: Memory) -> None:
        """This one shares it from now on."""
        self._memories.append(memory)

    def share(self, memory: Memory) -> int:
        """An equal share of all that hold something, this one included."""
        holders = sum(1 for one in self._memories if one is memory or one.charged)
        return self.rows_max // max(1, holders)

    def make_room(self, rows: int) -> None:
        """See that so many more fit: the largest memory forgets its oldest generation, of equal
        ones the first that joined.
        """
        charges = [one.charged for one in self._memories]
        total = sum(charges)
        while total and total + rows > self.rows_max:
            largest = charges.index(max(charges))
            self._memories[largest].give_up_oldest()
            total -= charges[largest]
            charges[largest] = self._memories[largest].charged
            total += charges[largest]
