"""Deduplication of one route: a key is new, then in flight, then delivered.

The rule: **a key counts as delivered only after a 200.** If it counted earlier, and the event were
then refused or lost in a crash, its repetition would be dropped as a duplicate, and the event would
be lost. For the same reason a replay from a dead-letter topic is never a duplicate.

So while an event is in flight, a second event with the same key is *linked* to it: it is settled
when the first is delivered. If the first is refused or given back instead, the oldest linked event
takes its place.

A profile has no time. Without a key of its producer, its row's key is the place of its record: a
profile may get the same value again, but the same record is always a repetition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from hashlib import blake2b

from worker.core.dedup.key_memory import Generations, KeyBudget
from worker.core.model.clock import Now
from worker.core.model.record import Assignment
from worker.core.model.row import Row


@dataclass(frozen=True, slots=True)
class Admission:
    """The rows of a chunk: `fresh` continue, `duplicates` of delivered rows are settled.

    `linked` wait for the result of a row in flight with the same key.
    """

    fresh: list[Row]
    duplicates: list[Row]
    linked: list[Row]


class Window:
    """The keys of one route.

    Keys in flight are bounded by the records that the pipeline holds, delivered keys by count, age
    and the budget.

    Args:
        budget: the budget of all windows of the process.
        rows_max: how many delivered keys this window remembers at most, and how many parked keys.
        age_seconds: how long it remembers them.
    """

    def __init__(self, budget: KeyBudget, *, rows_max: int, age_seconds: float) -> None:
        self._delivered = Generations(budget, rows_max=rows_max, age_seconds=age_seconds)
        self._parked = Generations(budget, rows_max=rows_max, age_seconds=age_seconds)
        self._age_seconds = age_seconds
        self._has_parked = False
        self._in_flight: set[bytes] = set()
        # Lists: mostly a key has one linked row, and a deque takes 760 bytes for it.
        self._linked: dict[bytes, list[Row]] = {}

    @property
    def rows(self) -> int:
        """How many delivered and parked keys are remembered."""
        return len(self._delivered) + len(self._parked)

    @property
    def evicted(self) -> int:
        """How many keys were forgotten before their age limit, for lack of room."""
        return self._delivered.evicted + self._parked.evicted

    @property
    def linked(self) -> int:
        """How many rows are linked to a row in flight."""
        return sum(len(rows) for rows in self._linked.values())

    def admit(self, rows: Sequence[Row], monotonic_seconds: float) -> Admission:
        """Sort a chunk's rows.

        Fresh rows are in flight from now on, until `deliver` or `take_back`.
        """
        self._delivered.forget(monotonic_seconds)
        self._parked.forget(monotonic_seconds)
        self._has_parked = len(self._parked) > 0
        keys = [row.key for row in rows]
        seen = self._seen(keys)
        if not seen and not self._has_parked:
            self._in_flight.update(keys)
            return Admission(list(rows), [], [])
        fresh: list[Row] = []
        duplicates: list[Row] = []
        linked: list[Row] = []
        for key, row in zip(keys, rows, strict=True):
            if key not in seen and not self._has_parked:
                self._in_flight.add(key)
                fresh.append(row)
            elif key in self._in_flight:
                self._linked.setdefault(key, []).append(row)
                linked.append(row)
            elif not row.is_replay and (
                key in self._delivered or (self._has_parked and _content(row) in self._parked)
            ):
                duplicates.append(row)
            else:
                self._in_flight.add(key)
                fresh.append(row)
        return Admission(fresh, duplicates, linked)

    def _seen(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return the keys that are in flight or delivered, or twice in the chunk.

        It works with whole sets, 0.2 µs a key: to look up each key in each generation takes five
        times as long.
        """
        different = set(keys)
        seen = self._delivered.known(different)
        seen |= different & self._in_flight
        if len(different) < len(keys):
            seen.update(key for key, count in Counter(keys).items() if count > 1)
        return seen

    def restore(
        self,
        delivered: Iterable[Row],
        parked: Iterable[Row],
        now: Now,
        *,
        named_from_milliseconds: int,
    ) -> None:
        """Remember rows that an earlier owner of their partition has settled.

        Rows that are older than the window are not remembered, nor rows written before
        `named_from_milliseconds`: they may have been refused.
        """
        earliest = max((now.unix_seconds - self._age_seconds) * 1000, named_from_milliseconds)
        young = [row.key for row in delivered if _written_milliseconds(row) >= earliest]
        self._delivered.add_all(young, now.monotonic_seconds)
        for row in parked:
            if _written_milliseconds(row) >= earliest:
                self._parked.add(_content(row), now.monotonic_seconds)

    def deliver(self, keys: Sequence[bytes], monotonic_seconds: float) -> list[Row]:
        """Remember delivered rows by their keys.

        Returns the rows linked to them: duplicates, settled with them.

        Raises:
            KeyError: a key is not in flight.
        """
        before = len(self._in_flight)
        self._in_flight.difference_update(keys)
        if before - len(self._in_flight) != len(keys):
            raise KeyError(f"{len(keys) - before + len(self._in_flight)} keys are not in flight")
        self._delivered.add_all(keys, monotonic_seconds)
        settled: list[Row] = []
        # Mostly nothing is linked: then no key is looked up.
        for key in keys if self._linked else ():
            settled.extend(self._linked.pop(key, ()))
        return settled

    def park(self, rows: Iterable[Row], monotonic_seconds: float) -> tuple[list[Row], list[Row]]:
        """Remember parked rows.

        Returns linked rows: the duplicates, settled with them, and the rows that continue.

        A parked event may still be refused, even by another worker, and then be corrected and sent
        again under its key. So it is remembered by its content: its repetition is a duplicate, its
        correction isn't.
        """
        duplicates: list[Row] = []
        promoted: list[Row] = []
        for row in rows:
            content = _content(row)
            self._parked.add(content, monotonic_seconds)
            linked = self._linked.get(row.key, [])
            duplicates.extend(other for other in linked if _content(other) == content)
            others = [other for other in linked if _content(other) != content]
            if others:
                self._linked[row.key] = others
            else:
                self._linked.pop(row.key, None)
            promoted.extend(self.take_back((row,)))
        return duplicates, promoted

    def take_back(self, rows: Iterable[Row]) -> list[Row]:
        """Forget rows that were refused or given back.

        Returns the linked rows that take their places, in flight from now on.
        """
        promoted: list[Row] = []
        for row in rows:
            self._in_flight.remove(row.key)
            linked = self._linked.get(row.key)
            if linked is not None:
                successor = linked.pop(0)
                if not linked:
                    del self._linked[row.key]
                self._in_flight.add(successor.key)
                promoted.append(successor)
        return promoted

    def unlink(self, assignments: Set[Assignment]) -> list[Row]:
        """Remove and return the linked rows of partitions that were released."""
        removed: list[Row] = []
        for key, linked in list(self._linked.items()):
            kept = [row for row in linked if row.assignment not in assignments]
            if len(kept) == len(linked):
                continue
            removed.extend(row for row in linked if row.assignment in assignments)
            if kept:
                self._linked[key] = kept
            else:
                del self._linked[key]
        return removed


def _content(row: Row) -> bytes:
    """Return the digest of a parked row's key, columns and line.

    The columns are part of it because a line doesn't name them.
    """
    resource, _, identity, filled = row.destination
    columns = f"{resource}\0{identity}\0{filled}\0".encode()
    return blake2b(row.key + columns + row.line, digest_size=len(row.key)).digest()


def _written_milliseconds(row: Row) -> int:
    """Return when the row's record was written; without a timestamp, the time of its event."""
    return row.record.timestamp if row.record.timestamp > 0 else row.event_timestamp * 1000
