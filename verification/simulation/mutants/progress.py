"""Mutants of progress: offsets, the fence, the account, commit metadata and memory."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any

import worker.core.counters.counters
import worker.core.draining
import worker.core.pipeline
import worker.core.wire.commit_metadata
from verification.simulation.mutants.swap import Mutant, Swap
from worker.core.draining import Draining
from worker.core.model.command import Command, Commit
from worker.core.model.event import Lost
from worker.core.progress.commits import Commits
from worker.core.progress.ledger import Ledger
from worker.core.progress.offsets import Offsets
from worker.core.progress.pressure import MemoryGauge
from worker.core.progress.tracker import Tracker
from worker.core.settlement import RowFlow
from worker.core.wire.commit_metadata import CommitMetadata
from worker.edges.kafka.rebalance_listener import Rebalances


def commit_the_highest_offset_seen(swap: Swap) -> None:
    swap(Tracker, "safe_position", property(lambda self: self._position))
    swap(Tracker, "settled_ranges", lambda self: [])


def settle_answers_of_another_epoch(swap: Swap) -> None:
    def settle(self: Ledger, offsets: Mapping[Any, Sequence[int]]) -> dict[Any, int]:
        counts: dict[Any, int] = {}
        for of, settled in offsets.items():
            for assignment in self.offsets:
                if assignment.topic_partition == of.topic_partition:
                    self.offsets.tracker(assignment)._unsettled.difference_update(settled)
                    counts[assignment] = counts.get(assignment, 0) + len(settled)
        self.commits.note_progress()
        return counts

    swap(Ledger, "_settle_offsets", settle)


def commit_after_the_release(swap: Swap) -> None:
    # For assignments that were revoked as well.
    swap(Rebalances, "may_commit", lambda self, assignment: True)
    swap(Commits, "start", _commit_all_ever)


def _commit_all_ever(self: Any, monotonic_seconds: float) -> list[Commit]:
    positions = self._offsets.to_commit()
    ever = self.__dict__.setdefault("ever", {})
    ever.update(
        {
            one: type(position)(position.offset + 5, "")
            for one, position in positions.items()
            if one not in ever
        }
    )
    gone = {one: position for one, position in ever.items() if one not in self._offsets}
    self._has_progress, self._is_in_flight = False, bool(positions)
    self._due_seconds = monotonic_seconds + self._interval_seconds
    return [Commit(positions | gone)] if positions else []


def forget_the_fence(swap: Swap) -> None:
    swap(Draining, "_give_up", lambda self, assignments, now: [])


def ignore_that_partitions_are_lost(swap: Swap) -> None:
    handle = worker.core.pipeline.Pipeline._rebalanced

    def deaf(self: Any, event: Any, now: Any) -> list[Command]:
        return [] if isinstance(event, Lost) else handle(self, event, now)

    swap(worker.core.pipeline.Pipeline, "_rebalanced", deaf)


def settle_dead_letters_before_they_are_acknowledged(swap: Swap) -> None:
    reject = RowFlow.reject

    def hasty(self: RowFlow, rejections: Any) -> list[Command]:
        commands = reject(self, rejections)
        self._ledger.write_dead_letters(rejections)
        return commands

    swap(RowFlow, "reject", hasty)
    swap(RowFlow, "_dead_lettered", lambda self, rejections: None)


def settle_parked_records_before_they_are_acknowledged(swap: Swap) -> None:
    park = RowFlow.park

    def hasty(self: RowFlow, rows: Any) -> list[Command]:
        commands = park(self, rows)
        self._ledger.park(rows)
        return commands

    swap(RowFlow, "park", hasty)
    swap(RowFlow, "_parked", lambda self, rows, now: None)


def send_until_the_very_end_of_a_drain(swap: Swap) -> None:
    swap(worker.core.draining, "QUIET_SHARE", 0.0)


def believe_metadata_without_its_checksum(swap: Swap) -> None:
    def decode(position: int, metadata: str) -> CommitMetadata | None:
        read = {
            "1:": worker.core.wire.commit_metadata._of_runs,
            "2:": worker.core.wire.commit_metadata._of_flags,
        }.get(metadata[:2])
        try:
            checked = urlsafe_b64decode(metadata[2:] + "==")
        except ValueError:
            return None
        return read(position, checked[:-4]) if read is not None else None

    swap(worker.core.wire.commit_metadata, "decode", decode)


def ignore_the_metadata(swap: Swap) -> None:
    swap(Tracker, "is_settled", lambda self, offset: False)


def commit_without_metadata(swap: Swap) -> None:
    encode = worker.core.wire.commit_metadata.encode
    swap(
        worker.core.wire.commit_metadata,
        "encode",
        lambda position, floor, settled, *limits: encode(position, floor, [], *limits),
    )


def commit_what_is_too_large_again_and_again(swap: Swap) -> None:
    swap(Offsets, "limit_metadata", lambda self, refused: None)


def hold_whatever_comes(swap: Swap) -> None:
    swap(MemoryGauge, "is_high", property(lambda self: False))


def commit_seldom(swap: Swap) -> None:
    start = Commits.start
    swap(Commits, "start", lambda self, at: start(self, at + 2.0))


def observe_negative_ages(swap: Swap) -> None:
    swap(worker.core.counters.counters, "_set_to_now", lambda ages: 0)


def let_a_task_die_unobserved(swap: Swap) -> None:
    parked = RowFlow._parked

    async def fail() -> None:
        raise RuntimeError("nobody looks")

    def careless(self: RowFlow, rows: Any, now: Any) -> None:
        asyncio.get_running_loop().create_task(fail())
        parked(self, rows, now)

    swap(RowFlow, "_parked", careless)


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        commit_the_highest_offset_seen,
        settle_answers_of_another_epoch,
        commit_after_the_release,
        forget_the_fence,
        ignore_that_partitions_are_lost,
        settle_dead_letters_before_they_are_acknowledged,
        settle_parked_records_before_they_are_acknowledged,
        send_until_the_very_end_of_a_drain,
        believe_metadata_without_its_checksum,
        ignore_the_metadata,
        commit_without_metadata,
        commit_what_is_too_large_again_and_again,
        hold_whatever_comes,
        commit_seldom,
        observe_negative_ages,
        let_a_task_die_unobserved,
    )
}
