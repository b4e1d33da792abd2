"""The books: each record's offset, its place in the account and its share of the memory, always
moved together.

Whoever settles a record settles it here, so that the three can't drift apart. Rows whose assignment
is gone are still let go of (they take memory), but nothing is settled for them and nothing counted:
their next owner will.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from worker.core.counters.counters import Counters
from worker.core.model.clock import Now
from worker.core.model.fault import Rejection
from worker.core.model.record import Assignment, Record, Start
from worker.core.model.row import Row
from worker.core.progress.offsets import Abandoned, Left, Offsets
from worker.core.progress.pressure import MemoryGauge


class Ledger:
    """Offsets, account and memory as one."""

    def __init__(
        self, account: Counters, memory_bytes_max: int, span_max: int, chunk_records_max: int
    ) -> None:
        self.account = account
        self.offsets = Offsets(span_max, chunk_records_max)
        self.memory = MemoryGauge(memory_bytes_max)
        self.abandoned = Abandoned()

    def assign(self, starts: Iterable[Start]) -> None:
        """Partitions became ours."""
        for start in starts:
            is_understood = self.offsets.assign(start)
            self.abandoned.begin(start.assignment.topic_partition)
            self.account.topics[start.assignment.topic].hints_ignored += not is_understood

    def receive(
        self, assignment: Assignment, records: Sequence[Record], next_offset: int
    ) -> Sequence[Record]:
        """Records came in. Returns those that are to be worked on: all but what was settled in the
        partition's earlier life.

        Their memory is held by `hold` once their size is known.
        """
        tracker = self.offsets.tracker(assignment)
        topic = self.account.topics[assignment.topic]
        if tracker.covers:
            received = len(records)
            records = [record for record in records if not tracker.is_settled(record.offset)]
            topic.skipped_settled += received - len(records)
        tracker.track([record.offset for record in records], next_offset)
        self.offsets.note_change((assignment,))
        topic.consumed += len(records)
        topic.consumed_bytes += sum([len(record.value) for record in records if record.value])
        return records

    def reserve(self, entries: Iterable[Row | Rejection]) -> None:
        """These are held in memory from now on."""
        self.memory.reserve(sum([entry.size_bytes for entry in entries]))

    def deliver(self, rows: Sequence[Row], now: Now) -> None:
        """These rows were answered 200."""
        topics = self.account.topics
        for assignment, count in self._settle(rows).items():
            topics[assignment.topic].delivered += count
        self.account.last_delivery_unix_seconds = now.unix_seconds
        self._observe_times(rows, now.unix_seconds)

    def _observe_times(self, rows: Sequence[Row], unix_seconds: float) -> None:
        """Count the ages of these events and the latencies of their records.

        A time ahead of our clock counts as now: with a negative value a histogram's sum would fall,
        and a sum that falls is a restart to Prometheus.
        """
        topics = self.account.topics
        ages = [unix_seconds - row.event_timestamp for row in rows]
        for topic, count in _ahead(rows, ages).items():
            topics[topic].events_ahead += count
        self.account.event_age_seconds.observe_all(_not_negative(ages))
        dated = [row for row in rows if row.record.timestamp > 0]
        if len(dated) < len(rows):
            for row in rows:
                topics[row.assignment.topic].records_undated += row.record.timestamp <= 0
        latencies = [unix_seconds - row.record.timestamp / 1000 for row in dated]
        for topic, count in _ahead(dated, latencies).items():
            topics[topic].records_ahead += count
        self.account.delivery_latency_seconds.observe_all(_not_negative(latencies))

    def drop_duplicates(self, rows: Sequence[Row]) -> None:
        """These rows were recognised as duplicates of delivered ones."""
        for assignment, count in self._settle(rows).items():
            self.account.topics[assignment.topic].duplicates += count

    def park(self, rows: Sequence[Row]) -> None:
        """The parking topic has acknowledged these."""
        for assignment, count in self._settle(rows).items():
            self.account.topics[assignment.topic].parked += count

    def write_dead_letters(self, rejections: Sequence[Rejection]) -> None:
        """The dead-letter topic has acknowledged these."""
        for rejection in rejections:
            for assignment in self._settle((rejection,)):
                self.account.topics[assignment.topic].dead_lettered[rejection.reason] += 1

    def give_back(self, rows: Sequence[Row]) -> None:
        """These rows won't be worked on any more; their records stay unsettled."""
        for row in rows:
            if row.assignment in self.offsets:
                self.offsets.tracker(row.assignment).give_back(1)
        self.let_go(rows)

    def let_go(self, entries: Iterable[Row | Rejection]) -> None:
        """These are no longer held in memory."""
        self.memory.release(sum([entry.size_bytes for entry in entries]))

    def remove(self, assignments: Collection[Assignment]) -> None:
        """These partitions are no longer ours; what of them is unsettled is given back to whoever
        comes next.
        """
        for assignment in assignments:
            if assignment in self.offsets:
                left = self.offsets.left(assignment)
                self.account.topics[assignment.topic].given_back += left.unsettled
                self.abandoned.note(assignment.topic_partition, left)
        self.offsets.remove(assignments)

    def left(self) -> Left:
        """What would be left to others if this process ended now."""
        total = self.abandoned.total()
        for assignment in self.offsets:
            total = total.plus(self.offsets.left(assignment))
        return total

    def imbalance(self) -> int:
        """How many records the account can't explain, over all topics: 0, or this program has a
        fault.
        """
        outstanding = dict.fromkeys(self.account.topics, 0)
        for assignment in self.offsets:
            outstanding[assignment.topic] += self.offsets.tracker(assignment).unsettled
        return sum(
            abs(topic.balance(outstanding[name])) for name, topic in self.account.topics.items()
        )

    def _settle(self, entries: Sequence[Row | Rejection]) -> dict[Assignment, int]:
        """Settle the offsets of what is still ours, let go of everything; returns how many were
        settled, by assignment.
        """
        counts: dict[Assignment, int] = {}
        offsets = self.offsets
        for entry in entries:
            assignment = entry.assignment
            if assignment in offsets:
                offsets.tracker(assignment).settle(entry.record.offset)
                counts[assignment] = counts.get(assignment, 0) + 1
        offsets.note_change(counts)
        self.let_go(entries)
        return counts


def _ahead(rows: Sequence[Row], seconds: Sequence[float]) -> Counter[str]:
    """How many of these rows have a negative age, by topic."""
    # One comparison for all: times ahead are rare, and this is done for every batch.
    if min(seconds, default=0.0) >= 0:
        return Counter()
    return Counter(row.assignment.topic for row, age in zip(rows, seconds, strict=True) if age < 0)


def _not_negative(seconds: Sequence[float]) -> list[float]:
    """What is ahead of our clock counts as now."""
    return [max(0.0, one) for one in seconds]
