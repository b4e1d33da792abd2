"""The state of the whole worker at one moment, for operators."""

from __future__ import annotations

from collections.abc import Set

from worker.core.counters.snapshot import DeliveryStatus, PartitionStatus, Snapshot
from worker.core.model.clock import Now
from worker.core.model.record import Assignment, AssignmentState
from worker.core.progress.offsets import Offsets
from worker.core.route import Components
from worker.core.settlement import RowFlow


def build_status(
    components: Components,
    flow: RowFlow,
    now: Now,
    *,
    paused: Set[Assignment],
    is_stopping: bool,
) -> Snapshot:
    """Walk over everything that is held: for a scrape, not for a loop.

    Args:
        components: whose state it is.
        flow: what is being written to other topics.
        now: the moment.
        paused: the assignments that aren't received.
        is_stopping: whether the worker drains for its stop.
    """
    ledger, delivery = components.ledger, components.dispatcher.status(now)
    routes = components.routes.values()
    oldest = [
        delivery.oldest_event_timestamp,
        *(route.batcher.oldest_event_timestamp for route in routes),
    ]
    return Snapshot(
        counters=ledger.counters,
        partitions=tuple(
            _partition(ledger.offsets, assignment, is_paused=assignment in paused)
            for assignment in ledger.offsets
        ),
        holds=delivery.holds,
        throttles=delivery.throttles,
        rows=_rows(components, delivery, flow),
        destination=delivery.destination,
        held_bytes=ledger.memory.held_bytes,
        dedup_window_rows=sum(route.window.rows for route in routes),
        dedup_keys_evicted={
            topic: route.window.evicted for topic, route in components.routes.items()
        },
        oldest_event_timestamp=min(
            (timestamp for timestamp in oldest if timestamp is not None), default=None
        ),
        expiring_rows=delivery.expiring_rows,
        imbalance=ledger.imbalance(),
        is_stopping=is_stopping,
        is_dead_letter_blocked=flow.dead_letters.is_blocked,
        is_parking_blocked=flow.parking.is_blocked,
        clock=components.clock.status(now),
    )


def _rows(components: Components, delivery: DeliveryStatus, flow: RowFlow) -> dict[str, int]:
    """How many rows are in each stage of their way."""
    routes = components.routes.values()
    return {
        "linked": sum(route.window.linked for route in routes),
        "batching": sum(route.batcher.rows for route in routes),
        "waiting": delivery.rows_waiting,
        "in_flight": delivery.rows_in_flight,
        "dead_letter": flow.dead_letters.waiting,
        "parking": flow.parking.waiting,
    }


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
