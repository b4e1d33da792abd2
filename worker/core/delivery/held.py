"""The batches that wait under one hold, with what probes and parking ask of them.

What waits may be a hundred thousand batches of one row, and the questions come with each event:
none is answered by a walk over all of them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from worker.core.model.batch import Batch
from worker.core.model.record import Assignment


@dataclass(slots=True, eq=False)
class HeldBatch:
    """A batch under a hold, with what the rules of probing and parking ask of it.

    `probes` is how often it was sent as one, `topic` that of its rows: a batch never mixes topics.
    """

    batch: Batch
    probes: int = 0
    arrival: int = 0
    is_waiting: bool = False
    topic: str = field(init=False)
    size_bytes: int = field(init=False)
    first_offsets: dict[Assignment, int] = field(init=False)

    def __post_init__(self) -> None:
        self.topic = self.batch.rows[0].assignment.topic
        self.size_bytes = sum([row.size_bytes for row in self.batch.rows])
        self.first_offsets = {}
        for row in self.batch.rows:
            offset = row.record.offset
            self.first_offsets[row.assignment] = min(
                offset, self.first_offsets.get(row.assignment, offset)
            )


@dataclass(frozen=True, slots=True)
class Choice:
    """Batches that are to be parked: those of `topics` that came up to `last_arrival`."""

    topics: Collection[str]
    last_arrival: int


class HeldPartitions:
    """The partitions of all rows under any hold: asked for with each event, and seldom another set
    than before.
    """

    def __init__(self) -> None:
        self._batches: Counter[Assignment] = Counter()
        self._names: frozenset[Assignment] | None = frozenset()

    def names(self) -> frozenset[Assignment]:
        """The partitions: the same object for as long as they are the same."""
        if self._names is None:
            self._names = frozenset(self._batches)
        return self._names

    def add(self, partitions: Iterable[Assignment]) -> None:
        """A batch with rows of these waits."""
        for one in partitions:
            self._batches[one] += 1
            if self._batches[one] == 1:
                self._names = None

    def remove(self, partitions: Iterable[Assignment]) -> None:
        """It waits no more."""
        for one in partitions:
            self._batches[one] -= 1
            if self._batches[one] == 0:
                del self._batches[one]
                self._names = None


class HeldBatches:
    """Batches by topic in the order in which they came, and the order in which they are to be
    probes.
    """

    def __init__(self, partitions: HeldPartitions) -> None:
        self._partitions = partitions
        self._by_topic: dict[str, dict[str, HeldBatch]] = {}
        # Probes so far, rows, arrival, entry. What has left stays in it until it is met, or until
        # half of all has left.
        self._order: list[tuple[int, int, int, int, HeldBatch]] = []
        self._entries = count()
        self._count = 0
        self._arrivals = 0
        self._bytes: Counter[str] = Counter()
        # How many batches have this as their first offset of a partition. No Counter: it deletes
        # ten times as slowly as a dict.
        self._firsts: dict[tuple[Assignment, int], int] = {}

    def __len__(self) -> int:
        return self._count

    def batches(self) -> list[Batch]:
        """All of them, topic by topic, in the order in which they came."""
        return [one.batch for held in self._by_topic.values() for one in held.values()]

    def add(self, batch: Batch, probes: int = 0) -> None:
        """This one waits as well, behind the others."""
        one = HeldBatch(batch, probes, self._arrivals)
        self._arrivals += 1
        self._by_topic.setdefault(one.topic, {})[batch.id] = one
        self._enter(one)

    def pop_for_probe(self) -> HeldBatch:
        """Take out the batch that was a probe least often, the smallest among those: one bad batch
        is not asked with for ever.

        Raises:
            IndexError: none waits.
        """
        while True:
            one = heapq.heappop(self._order)[-1]
            if one.is_waiting:
                self._take((one,))
                return one

    @property
    def has_untried(self) -> bool:
        """True if a batch waits here that was not a probe yet."""
        while self._order and not self._order[0][-1].is_waiting:
            heapq.heappop(self._order)
        return bool(self._order) and self._order[0][-1].probes == 0

    def pins(self, over_span: Mapping[Assignment, int], topics: Collection[str]) -> bool:
        """True if the first unsettled offset of one of these partitions, of these topics, is a
        record that waits here.
        """
        return any(pin in self._firsts for pin in over_span.items() if pin[0].topic in topics)

    def size_bytes(self, topics: Collection[str]) -> int:
        """What the batches of these topics take; 0 only where there is none."""
        return sum(self._bytes[topic] for topic in topics if topic in self._bytes)

    def choice(self, topics: Collection[str]) -> Choice:
        """All batches of these topics that are here now."""
        return Choice(topics, self._arrivals - 1)

    def take_chosen(self, choice: Choice, rows_max: int) -> list[Batch]:
        """Take out chosen batches of about so many rows, in the order in which they came; none is
        left when this is empty.
        """
        chosen: list[HeldBatch] = []
        rows = 0
        for topic in choice.topics:
            for one in self._by_topic.get(topic, {}).values():
                if one.arrival > choice.last_arrival or rows >= rows_max:
                    break
                chosen.append(one)
                rows += len(one.batch.rows)
        return self._take(chosen)

    def take_all(self) -> list[Batch]:
        """Take out every batch, topic by topic, in the order in which they came."""
        return self._take([one for held in self._by_topic.values() for one in held.values()])

    def replace(self, transform: Callable[[Batch], Batch | None]) -> None:
        """Pass every batch through `transform`: it stays, is replaced in its place, or
        (None) goes.
        """
        for topic, held in self._by_topic.items():
            kept: dict[str, HeldBatch] = {}
            for one in held.values():
                batch = transform(one.batch)
                if batch is one.batch:
                    kept[batch.id] = one
                    continue
                self._leave(one)
                if batch is not None:
                    kept[batch.id] = HeldBatch(batch, one.probes, one.arrival)
                    self._enter(kept[batch.id])
            self._by_topic[topic] = kept
        self._compact()

    def _take(self, ones: Sequence[HeldBatch]) -> list[Batch]:
        for one in ones:
            del self._by_topic[one.topic][one.batch.id]
            self._leave(one)
        self._compact()
        return [one.batch for one in ones]

    def _enter(self, one: HeldBatch) -> None:
        one.is_waiting = True
        self._count += 1
        heapq.heappush(
            self._order, (one.probes, len(one.batch.rows), one.arrival, next(self._entries), one)
        )
        self._bytes[one.topic] += one.size_bytes
        self._partitions.add(one.first_offsets)
        for first in one.first_offsets.items():
            self._firsts[first] = self._firsts.get(first, 0) + 1

    def _leave(self, one: HeldBatch) -> None:
        one.is_waiting = False
        self._count -= 1
        self._bytes[one.topic] -= one.size_bytes
        self._partitions.remove(one.first_offsets)
        for first in one.first_offsets.items():
            left = self._firsts.pop(first) - 1
            if left:
                self._firsts[first] = left

    def _compact(self) -> None:
        """Keep no more entries of batches that have left than of batches that are here."""
        if len(self._order) > 2 * self._count:
            self._order = [entry for entry in self._order if entry[-1].is_waiting]
            heapq.heapify(self._order)
