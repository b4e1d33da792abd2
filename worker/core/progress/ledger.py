"""The account of every record: its offset, its share of the counters and of the memory.

They change together and only here, so that they always agree. Rows whose assignment is released
still free their memory, but they are neither settled nor counted: the next owner of the partition
does that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.core.counters.counters import ContractDrift, Counters, RequestEnd
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch, FlushTrigger, Shares
from worker.core.model.clock import Now
from worker.core.model.event import CommitFailed, Committed, Received
from worker.core.model.fault import Rejection
from worker.core.model.record import Assignment, Record, Skipped, Start
from worker.core.model.row import KeySource, Row
from worker.core.progress.commits import Commits
from worker.core.progress.offsets import Abandoned, Left, Offsets
from worker.core.progress.pressure import MemoryGauge


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """The bounds of what is in memory, and the interval of commits.

    `span_max` is how far a partition may reach beyond its safe position, in offsets;
    `chunk_records_max` how many records are received at once.
    """

    memory_bytes_max: int
    span_max: int
    chunk_records_max: int
    commit_interval_seconds: float


class Rebalance(StrEnum):
    """The kind of an event of a rebalance."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    LOST = "lost"


class Ledger:
    """Offsets, commits, counters and memory as one.

    Others read these parts; only the ledger writes the counters and reserves or releases memory.
    """

    def __init__(self, counters: Counters, limits: LedgerLimits) -> None:
        self.counters = counters
        self.offsets = Offsets(limits.span_max, limits.chunk_records_max)
        self.commits = Commits(self.offsets, limits.commit_interval_seconds)
        self.memory = MemoryGauge(limits.memory_bytes_max)
        self.abandoned = Abandoned()

    # --- partitions -------------------------------------------------------------------------------

    def count_rebalance(self, rebalance: Rebalance) -> None:
        """Count one event of a rebalance."""
        self.counters.rebalances[rebalance.value] += 1

    def assign(self, starts: Iterable[Start]) -> None:
        """Begin an epoch of each of these partitions."""
        for start in starts:
            is_understood = self.offsets.assign(start)
            self.abandoned.begin(start.assignment.topic_partition)
            self.counters.topics[start.assignment.topic].hints_ignored += not is_understood
        self.commits.note_progress()

    def skip(self, assignment: Assignment, count: int) -> None:
        """Count offsets that the broker no longer had."""
        self.counters.topics[assignment.topic].offsets_skipped += count

    def truncate(self, assignment: Assignment) -> None:
        """Count a partition's log that lost its end."""
        self.counters.topics[assignment.topic].log_truncations += 1

    def remove(self, assignments: Collection[Assignment]) -> None:
        """End these epochs: what is unsettled is given back to the partitions' next owners."""
        for assignment in assignments:
            if assignment in self.offsets:
                left = self.offsets.left(assignment)
                self.counters.topics[assignment.topic].given_back += left.unsettled
                self.abandoned.note(assignment.topic_partition, left)
        self.offsets.remove(assignments)

    def left(self) -> Left:
        """Return what would be unsettled or uncommitted if this process ended now."""
        total = self.abandoned.total()
        for assignment in self.offsets:
            total = total.plus(self.offsets.left(assignment))
        return total

    # --- records on their way ---------------------------------------------------------------------

    def receive(self, event: Received, now: Now) -> Sequence[Record]:
        """Track a chunk; return the records to be processed.

        These are all but the records that the commit metadata names as settled. Their
        memory is reserved by `reserve`, after their size is known.
        """
        assignment, records = event.assignment, event.records
        tracker = self.offsets.tracker(assignment)
        topic = self.counters.topics[assignment.topic]
        if tracker.covers:
            received = len(records)
            records = [record for record in records if not tracker.is_settled(record.offset)]
            topic.skipped_settled += received - len(records)
        tracker.track([record.offset for record in records], event.next_offset)
        self.offsets.note_change((assignment,))
        self.commits.note_progress()
        self.counters.last_poll_unix_seconds = now.unix_seconds
        topic.consumed += len(records)
        topic.consumed_bytes += sum([len(record.value) for record in records if record.value])
        return records

    def contract_drift(self, topic: str) -> ContractDrift:
        """Return the counters for differences of a topic's records from the contract."""
        return self.counters.topics[topic].contract_drift

    def reserve(self, entries: Iterable[Row | Rejection]) -> None:
        """Reserve the memory of these entries."""
        self.memory.reserve(sum([entry.size_bytes for entry in entries]))

    def release(self, entries: Iterable[Row | Rejection]) -> None:
        """Release the memory of these entries."""
        self.memory.release(sum([entry.size_bytes for entry in entries]))

    def seal(self, batch: Batch, trigger: FlushTrigger) -> None:
        """Count a batch that is ready to be sent."""
        self.counters.flushes[trigger.value] += 1
        self.counters.batch_rows.observe(len(batch.rows))
        self.counters.batch_bytes.observe(batch.body_bytes)

    def start_request(self, batch: Batch) -> None:
        """Reserve the memory of a request's body."""
        self.memory.reserve(batch.body_bytes)

    def end_request(self, batch: Batch, answer: Answer, end: RequestEnd) -> None:
        """Release the memory of a request's body, and count how the request ended."""
        self.memory.release(batch.body_bytes)
        self.counters.observe_request(answer, end, len(batch.rows))

    def reject(self, rejections: Iterable[Rejection]) -> None:
        """Count records that go to the dead-letter topic; they are not settled yet."""
        for rejection in rejections:
            self.counters.topics[rejection.assignment.topic].rejected[rejection.reason] += 1

    def fail_dead_letters(self) -> None:
        """Count a failed attempt to write dead letters."""
        self.counters.dead_letter_failures += 1

    def fail_parking(self) -> None:
        """Count a failed attempt to park records."""
        self.counters.parking_failures += 1

    # --- records settled or given back ------------------------------------------------------------

    def deliver(self, shares: Shares, now: Now) -> None:
        """Settle rows that were answered 200."""
        offsets = {assignment: share.offsets for assignment, share in shares.items()}
        for assignment, count in self._settle_offsets(offsets).items():
            self.counters.topics[assignment.topic].delivered += count
        self.memory.release(sum(share.size_bytes for share in shares.values()))
        self.counters.observe_delivery(shares, now.unix_seconds)

    def drop_duplicates(self, rows: Sequence[Row]) -> None:
        """Settle rows that are duplicates of delivered rows."""
        for source in KeySource if rows else ():
            of_source = [row for row in rows if row.key_source is source]
            for assignment, count in self._settle(of_source).items():
                self.counters.topics[assignment.topic].deduplicated[source.value] += count

    def skip_records(self, assignment: Assignment, skipped: Sequence[Skipped]) -> None:
        """Settle records that their route doesn't read. Nothing was reserved for them."""
        if not skipped:
            return
        tracker = self.offsets.tracker(assignment)
        tracker.settle([one.record.offset for one in skipped])
        self.offsets.note_change((assignment,))
        self.commits.note_progress()
        self.counters.topics[assignment.topic].skipped.update([one.reason for one in skipped])

    def park(self, rows: Sequence[Row]) -> None:
        """Settle rows that the parking topic has acknowledged."""
        for assignment, count in self._settle(rows).items():
            self.counters.topics[assignment.topic].parked += count

    def write_dead_letters(self, rejections: Sequence[Rejection]) -> None:
        """Settle records that the dead-letter topic has acknowledged."""
        settled = self._settle(rejections)
        for rejection in rejections:
            if rejection.assignment in settled:
                topic = self.counters.topics[rejection.assignment.topic]
                topic.dead_lettered[rejection.reason] += 1

    def give_back(self, rows: Sequence[Row]) -> None:
        """Stop working on these rows; their records stay unsettled."""
        for row in rows:
            if row.assignment in self.offsets:
                self.offsets.tracker(row.assignment).give_back(1)
        self.release(rows)

    def _settle(self, entries: Sequence[Row | Rejection]) -> dict[Assignment, int]:
        """Settle these entries, and release their memory; return counts as `_settle_offsets`."""
        offsets: dict[Assignment, list[int]] = {}
        for entry in entries:
            offsets.setdefault(entry.assignment, []).append(entry.record.offset)
        self.release(entries)
        return self._settle_offsets(offsets)

    def _settle_offsets(self, offsets: Mapping[Assignment, Sequence[int]]) -> dict[Assignment, int]:
        """Settle the offsets of assignments that are in force.

        Returns how many were settled, by assignment.
        """
        counts: dict[Assignment, int] = {}
        for assignment, settled in offsets.items():
            if assignment in self.offsets:
                self.offsets.tracker(assignment).settle(settled)
                counts[assignment] = len(settled)
        self.offsets.note_change(counts)
        self.commits.note_progress()
        return counts

    # --- commits and the account ------------------------------------------------------------------

    def commit(self, event: Committed, now: Now) -> None:
        """Take over the positions that the broker has acknowledged."""
        self.commits.succeed()
        self.offsets.commit(event.positions)
        self.counters.commits["committed"] += 1
        self.counters.commit_seconds.observe(event.duration_seconds)
        self.counters.last_commit_unix_seconds = now.unix_seconds

    def fail_commit(self, event: CommitFailed) -> int | None:
        """Note that a commit failed.

        Returns the new limit of metadata, in characters, where the broker found the metadata too
        large and less will be sent; the next commit is due at once then.
        """
        self.commits.fail()
        self.counters.commits["failed"] += 1
        self.counters.commit_seconds.observe(event.duration_seconds)
        limit = self.offsets.limit_metadata(event.too_large)
        if limit is not None:
            self.commits.commit_soon()
        return limit

    def imbalance(self) -> int:
        """Return how many records the counters cannot explain, over all topics.

        Always 0, unless this program has a bug.
        """
        outstanding = dict.fromkeys(self.counters.topics, 0)
        for assignment in self.offsets:
            outstanding[assignment.topic] += self.offsets.tracker(assignment).unsettled
        return sum(
            abs(topic.balance(outstanding[name])) for name, topic in self.counters.topics.items()
        )
