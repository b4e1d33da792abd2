"""The batches that wait under one hold, indexed for probes and for parking.

There may be a hundred thousand batches of one row, and the pipeline asks at each event: so no
method that is called then walks over all batches.
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
    """A batch under a hold, with what probes and parking need to know of it.

    `probes` is how often it was a probe, `topic` that of its rows: a batch never mixes topics.
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
        self.size_bytes = self.batch.size_bytes
        self.first_offsets = {
            assignment: min(share.offsets) for assignment, share in self.batch.shares.items()
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """Batches to be parked: those of `topics` that arrived up to `last_arrival`."""

    topics: Collection[str]
    last_arrival: int


class HeldPartitions:
    """The partitions of all rows under any hold, and those whose rows under it have changed.

    Called at each event: the cost is that of the changes since the last call.
    """

    def __init__(self) -> None:
        self._batches: dict[Assignment, int] = {}
        self._changed: set[Assignment] = set()

    def __contains__(self, partition: Assignment) -> bool:
        return partition in self._batches

    def take_changed(self) -> set[Assignment]:
        """The partitions with batches that came or left since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def add(self, partitions: Iterable[Assignment]) -> None:
        """A batch with rows of these partitions waits."""
        self._changed.update(partitions)
        for partition in partitions:
            self._batches[partition] = self._batches.get(partition, 0) + 1

    def remove(self, partitions: Iterable[Assignment]) -> None:
        """A batch with rows of these partitions waits no longer."""
        self._changed.update(partitions)
        for partition in partitions:
            left = self._batches.pop(partition) - 1
            if left:
                self._batches[partition] = left


class HeldBatches:
    """Batches by topic in order of arrival, and in the order in which they become probes."""

    def __init__(self, partitions: HeldPartitions) -> None:
        self._partitions = partitions
        self._by_topic: dict[str, dict[str, HeldBatch]] = {}
        # Probes so far, rows, arrival, entry. A batch that has left stays until it comes first, or
        # until half of all have left.
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
        """All of them, topic by topic, in order of arrival."""
        return [held.batch for of_topic in self._by_topic.values() for held in of_topic.values()]

    def of(self, topics: Collection[str]) -> list[Batch]:
        """The batches of these topics, topic by topic, in order of arrival."""
        return [held.batch for topic in topics for held in self._by_topic.get(topic, {}).values()]

    def add(self, batch: Batch, probes: int = 0) -> None:
        """Add a batch behind the others."""
        held = HeldBatch(batch, probes, self._arrivals)
        self._arrivals += 1
        self._by_topic.setdefault(held.topic, {})[batch.id] = held
        self._enter(held)

    def pop_for_probe(self) -> HeldBatch:
        """Take out the batch that was a probe least often, the smallest of several.

        So one bad batch isn't the only probe.

        Raises:
            IndexError: none waits.
        """
        while True:
            held = heapq.heappop(self._order)[-1]
            if held.is_waiting:
                self._take((held,))
                return held

    @property
    def has_untried(self) -> bool:
        """True if a batch waits here that was not a probe yet."""
        while self._order and not self._order[0][-1].is_waiting:
            heapq.heappop(self._order)
        return bool(self._order) and self._order[0][-1].probes == 0

    def pins(self, over_span: Mapping[Assignment, int], topics: Collection[str]) -> bool:
        """True if a record that waits here is the first unsettled one of these partitions.

        Then the hold alone keeps that safe position where it is. Only these topics count.
        """
        return any(pin in self._firsts for pin in over_span.items() if pin[0].topic in topics)

    def size_bytes(self, topics: Collection[str]) -> int:
        """The bytes of the batches of these topics; 0 only where there is none."""
        return sum(self._bytes[topic] for topic in topics if topic in self._bytes)

    def choice(self, topics: Collection[str]) -> Choice:
        """All batches of these topics that wait now."""
        return Choice(topics, self._arrivals - 1)

    def take_chosen(self, choice: Choice, rows_max: int) -> list[Batch]:
        """Take out chosen batches of about `rows_max` rows, in order of arrival.

        Empty if none is left.
        """
        chosen: list[HeldBatch] = []
        rows = 0
        for topic in choice.topics:
            for held in self._by_topic.get(topic, {}).values():
                if held.arrival > choice.last_arrival or rows >= rows_max:
                    break
                chosen.append(held)
                rows += len(held.batch.rows)
        return self._take(chosen)

    def take_all(self) -> list[Batch]:
        """Take out every batch, topic by topic, in order of arrival."""
        return self._take(
            [held for of_topic in self._by_topic.values() for held in of_topic.values()]
        )

    def replace(self, transform: Callable[[Batch], Batch | None]) -> None:
        """Pass every batch through `transform`.

        A batch stays, is replaced in its place, or (None) goes.
        """
        for topic, of_topic in self._by_topic.items():
            kept: dict[str, HeldBatch] = {}
            for held in of_topic.values():
                batch = transform(held.batch)
                if batch is held.batch:
                    kept[batch.id] = held
                    continue
                self._leave(held)
                if batch is not None:
                    kept[batch.id] = HeldBatch(batch, held.probes, held.arrival)
                    self._enter(kept[batch.id])
            self._by_topic[topic] = kept
        self._compact()

    def _take(self, batches: Sequence[HeldBatch]) -> list[Batch]:
        for held in batches:
            del self._by_topic[held.topic][held.batch.id]
            self._leave(held)
        self._compact()
        return [held.batch for held in batches]

    def _enter(self, held: HeldBatch) -> None:
        held.is_waiting = True
        self._count += 1
        heapq.heappush(
            self._order,
            (held.probes, len(held.batch.rows), held.arrival, next(self._entries), held),
        )
        self._bytes[held.topic] += held.size_bytes
        self._partitions.add(held.first_offsets)
        for first in held.first_offsets.items():
            self._firsts[first] = self._firsts.get(first, 0) + 1

    def _leave(self, held: HeldBatch) -> None:
        held.is_waiting = False
        self._count -= 1
        self._bytes[held.topic] -= held.size_bytes
        self._partitions.remove(held.first_offsets)
        for first in held.first_offsets.items():
            left = self._firsts.pop(first) - 1
            if left:
                self._firsts[first] = left

    def _compact(self) -> None:
        """Remove entries of batches that have left, once they are more than half of all entries."""
        if len(self._order) > 2 * self._count:
            self._order = [entry for entry in self._order if entry[-1].is_waiting]
            heapq.heapify(self._order)
