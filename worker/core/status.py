"""The state of the whole at one moment, put together for operators."""

from __future__ import annotations

from collections.abc import Mapping

from worker.core.counters.snapshot import PartitionStatus, Snapshot
from worker.core.model.clock import Now
from worker.core.model.record import Assignment, AssignmentState
from worker.core.progress.offsets import Offsets
from worker.core.settlement import Components


def build_status(
    rooms: Components,
    now: Now,
    *,
    paused: frozenset[Assignment],
    writing: Mapping[str, int],
    is_stopping: bool,
    blocked: frozenset[str],
) -> Snapshot:
    """Walks over everything that is held: for a scrape, not for a loop.

    Args:
        rooms: whose state it is.
        now: the moment.
        paused: the assignments that aren't received of.
        writing: how many records wait to be written, by stage: dead_letter, parking.
        is_stopping: whether the worker is coming to its end.
        blocked: the stages of these whose topic can't be written.
    """
    offsets, dispatcher, routes = rooms.ledger.offsets, rooms.dispatcher, rooms.routes.values()
    oldest = [
        dispatcher.oldest_event_timestamp,
        *(route.batcher.oldest_event_timestamp for route in routes),
    ]
    return Snapshot(
        account=rooms.ledger.account,
        partitions=tuple(
            _partition(offsets, assignment, is_paused=assignment in paused)
            for assignment in offsets
        ),
        holds=tuple(dispatcher.holds(now)),
        throttles=tuple(dispatcher.throttles(now)),
        rows={
            "linked": sum(route.window.linked for route in routes),
            "batching": sum(route.batcher.rows for route in routes),
            "waiting": dispatcher.rows_waiting,
            "in_flight": dispatcher.rows_in_flight,
            **writing,
        },
        destination=dispatcher.destination(),
        held_bytes=rooms.ledger.memory.held_bytes,
        dedup_window_rows=sum(route.window.rows for route in routes),
        dedup_keys_evicted={topic: route.window.evicted for topic, route in rooms.routes.items()},
        oldest_event_timestamp=min(
            (timestamp for timestamp in oldest if timestamp is not None), default=None
        ),
        imbalance=rooms.ledger.imbalance(),
        is_stopping=is_stopping,
        is_dead_letter_blocked="dead_letter" in blocked,
        is_parking_blocked="parking" in blocked,
        clock=rooms.clock.status(now),
    )


def _partition(offsets: Offsets, assignment: Assignment, *, is_paused: bool) -> PartitionStatus:
    tracker = offsets.tracker(assignment)
    committed = offsets.committed(assignment)
    return PartitionStatus(
        assignment=assignment,
        position=tracker.position,
        safe_position=tracker.safe_position,
        committed=committed.offset if committed is not None else None,
        unsettled=tracker.unsettled,
        is_paused=is_paused,
        is_draining=offsets.state(assignment) is AssignmentState.DRAINING,
    )
