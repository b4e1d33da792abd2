"""A bounded memory of deduplication keys, and the budget that all memories of a process share.

Keys are in generations: sets that are filled one after the other and forgotten as a whole, the
oldest first. A single set of millions of keys would block the event loop for 200 ms whenever it
grows, and to forget key by key would cost as much as to remember. A Bloom filter is not used,
because its false positives would be lost events.

The budget is shared by need: a topic that nobody writes to needs no room, and a busy topic may use
the whole budget. If no room is left, the memory with the most keys forgets its oldest generation.
So a memory that holds less than seven eighths of an equal share loses no keys to others, and the
largest memory makes room for itself by forgetting its own keys.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

# The maximum memory of a key: an object of 64 bytes, and its place in the table of a set.
KEY_BYTES = 128


class Memory(Protocol):
    """A holder of keys that shares the budget."""

    @property
    def charged(self) -> int:
        """How many keys it holds, or has room for already."""

    def give_up_oldest(self) -> None:
        """Forget the oldest generation. Called only while something is charged."""


class KeyBudget:
    """The bound for the process, and the memories that share it.

    Args:
        rows_max: how many keys all of them may hold together.
    """

    def __init__(self, rows_max: int) -> None:
        self.rows_max = rows_max
        self._memories: list[Memory] = []

    def join(self, memory: Memory) -> None:
        """Let this memory share the budget from now on."""
        self._memories.append(memory)

    def share(self, memory: Memory) -> int:
        """Return an equal share among all that hold something, this memory included."""
        holders = sum(1 for other in self._memories if other is memory or other.charged)
        return self.rows_max // max(1, holders)

    def make_room(self, rows: int) -> None:
        """Make this many more keys fit.

        The largest memory forgets its oldest generation; among equals the first that joined.
        """
        charges = [memory.charged for memory in self._memories]
        total = sum(charges)
        while total and total + rows > self.rows_max:
            largest = charges.index(max(charges))
            self._memories[largest].give_up_oldest()
            total -= charges[largest]
            charges[largest] = self._memories[largest].charged
            total += charges[largest]


# With n generations at least (n-1)/n of the bound is remembered, and a lookup asks n sets. 8: 0.3
# µs, 12 % short at worst.
GENERATIONS = 8
# The tables of CPython's sets, as far as they grow fourfold when they are three fifths full. Right
# after that a key takes 107 bytes of the table, and right before it 27.
_TABLES = (8, 32, 128, 512, 2048, 8192, 32_768)


@dataclass(slots=True)
class _Generation:
    """A set of keys. `rows_max` is what it may hold, and after it is closed what it holds."""

    born_seconds: float
    rows_max: int
    keys: set[bytes]


def generation_rows(wanted: int) -> int:
    """Return how many keys a generation should hold.

    That is the wanted number, or less where the set would take much more room for the rest.
    """
    for table in _TABLES:
        if (fits := (table - 1) * 3 // 5) < wanted < table:
            return fits
    return max(1, wanted)


def remembered_at_least(rows_max: int) -> int:
    """Return how many of the newest keys a memory of this size always remembers."""
    rows = generation_rows(rows_max // GENERATIONS)
    return (rows_max // rows - 1) * rows


class Generations:
    """Remembers keys, bounded by count, by age and by the budget.

    At most `rows_max` keys, each for at most `age_seconds`.

    A generation is an eighth of what is held, or of an equal share of the budget while less than
    that is held. So a small memory loses little at a time, and a large memory has few sets to
    search.
    """

    def __init__(self, budget: KeyBudget, *, rows_max: int, age_seconds: float) -> None:
        if rows_max < GENERATIONS:
            raise ValueError(f"rows_max must be at least {GENERATIONS}, not {rows_max}")
        self._budget = budget
        self._rows_max = rows_max
        self._generation_seconds = age_seconds / GENERATIONS
        self._age_seconds = age_seconds
        self._generations: deque[_Generation] = deque()
        self.evicted = 0
        budget.join(self)

    def __len__(self) -> int:
        return sum(len(generation.keys) for generation in self._generations)

    def __contains__(self, key: bytes) -> bool:
        # The newest first: an event that is repeated mostly is so soon. A plain loop: any() would
        # take twice as long.
        for generation in self._generations:  # noqa: SIM110
            if key in generation.keys:
                return True
        return False

    @property
    def charged(self) -> int:
        """How many keys it holds, with those that the newest generation has room for."""
        return sum(generation.rows_max for generation in self._generations)

    def known(self, keys: set[bytes]) -> set[bytes]:
        """Return those of the keys that are remembered."""
        return set().union(*[keys & generation.keys for generation in self._generations])

    def add(self, key: bytes, monotonic_seconds: float) -> None:
        """Remember this key from now on."""
        self._newest(monotonic_seconds).keys.add(key)

    def add_all(self, keys: Sequence[bytes], monotonic_seconds: float) -> None:
        """Remember these keys from now on."""
        start = 0
        while start < len(keys):
            newest = self._newest(monotonic_seconds)
            end = start + newest.rows_max - len(newest.keys)
            newest.keys.update(keys[start:end])
            start = end

    def forget(self, monotonic_seconds: float) -> None:
        """Drop the generations whose first key is older than the bound."""
        while (
            self._generations
            and monotonic_seconds - self._generations[-1].born_seconds >= self._age_seconds
        ):
            self._generations.pop()

    def give_up_oldest(self) -> None:
        """Forget the oldest generation early, for lack of room; `evicted` counts its keys."""
        self.evicted += len(self._generations.pop().keys)

    def _newest(self, monotonic_seconds: float) -> _Generation:
        """Return the newest generation, with room for a key at least."""
        newest = self._generations[0] if self._generations else None
        if (
            newest is None
            or len(newest.keys) >= newest.rows_max
            or monotonic_seconds - newest.born_seconds >= self._generation_seconds
        ):
            return self._begin(monotonic_seconds)
        return newest

    def _begin(self, monotonic_seconds: float) -> _Generation:
        """Begin a generation and make room for all of it."""
        self.forget(monotonic_seconds)
        if self._generations:
            self._generations[0].rows_max = len(self._generations[0].keys)
        wanted = min(self._rows_max, max(self.charged, self._budget.share(self)))
        rows = generation_rows(wanted // GENERATIONS)
        while self._generations and self.charged + rows > self._rows_max:
            self.give_up_oldest()
        self._budget.make_room(rows)
        newest = _Generation(monotonic_seconds, rows, set())
        self._generations.appendleft(newest)
        return newest
