"""The next batch of the ordered lanes, and which batches may pass a batch that fails.

A lane continues while its application is neither on hold nor throttled. Rows that stepped aside
wait in quarantine or under a hold, so a lane's next batch depends on these places as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence, Set

from worker.core.delivery.fault_isolation import FaultIsolation
from worker.core.delivery.holds import Holds
from worker.core.delivery.ordering import OrderedLanes
from worker.core.delivery.queues import Quarantine
from worker.core.delivery.request_history import Lane, lane_of
from worker.core.delivery.throttle import Throttles
from worker.core.model.batch import Batch


class LaneTurns:
    """Takes batches out of the ordered lanes, and puts retries back.

    `busy` in its methods are the lanes with a request in flight.

    Args:
        ordered: the lanes.
        quarantine: where rows that were refused alone step aside.
        holds: where batches of applications on hold step aside.
        throttles: the applications that the API throttles.
        isolation: what is known about the batches' faults; it takes them apart.
    """

    def __init__(
        self,
        ordered: OrderedLanes,
        quarantine: Quarantine,
        holds: Holds,
        throttles: Throttles,
        isolation: FaultIsolation,
    ) -> None:
        self._ordered = ordered
        self._quarantine = quarantine
        self._holds = holds
        self._throttles = throttles
        self._isolation = isolation

    def next_deadline(self, busy: Set[Lane]) -> float | None:
        """When the first lane may continue, in monotonic seconds; None if that needs an answer."""
        dues = [self._deadline_of(lane) for lane in self._ordered.lanes() if lane not in busy]
        return min((due for due in dues if due is not None), default=None)

    def pop(
        self,
        monotonic_seconds: float,
        busy: Set[Lane],
        passes_over: Callable[[str], bool] = lambda _: False,
    ) -> Batch | None:
        """The next batch of an ordered lane; None if none may be sent."""
        for lane in self._ordered.lanes():
            _, application_id = lane
            if (
                lane in busy
                or self._holds.reason(application_id) is not None
                or not self._throttles.admits(application_id, monotonic_seconds)
            ):
                continue
            batch = self._pop(lane, monotonic_seconds)
            if batch is not None and passes_over(batch.id):
                self._ordered.put_first([batch])
            elif batch is not None:
                return batch
        return None

    def pop_for_holds(self, busy: Set[Lane]) -> Iterator[Batch]:
        """Take out the oldest batch of each lane whose application is on hold, as its next probe.

        Another batch follows when all were failed probes: one bad batch must not be the only probe.
        Each batch has to wait under its hold before the next one is asked for.
        """
        for lane in self._ordered.lanes():
            _, application_id = lane
            if lane not in busy and self._holds.lacks_untried(application_id):
                batch = self._pop(lane, math.inf)
                if batch is not None:
                    yield batch

    def delay(self, batches: Sequence[Batch], due_seconds: float) -> None:
        """Let these parts of a batch wait until that time, and their lane with them.

        The lane doesn't wait for a batch that fails while others are accepted, nor for a batch that
        has failed again with nothing accepted in between, because only others can show whether that
        batch is the cause. Such a batch is halved at each failure: it may have rows of all
        subjects, and rows of a subject don't pass each other.
        """
        first, *rest = batches
        suspects = self._isolation.suspects
        is_alone = suspects.is_alone(first.id)
        steps_aside = is_alone or suspects.is_suspect(first.id)
        if is_alone and len(first.rows) > 1:
            first, second = self._isolation.first_rows_apart(first, len(first.rows) // 2)
            rest = [second, *rest]
        self._ordered.put_first(rest)
        if steps_aside:
            self._ordered.step_aside(first, due_seconds)
        else:
            self._ordered.delay(first, due_seconds)

    def ready(self) -> Iterator[Batch]:
        """Every batch that may be sent as soon as it has its turn."""
        for lane in self._ordered.lanes():
            yield from self._ordered.ready(lane)

    def candidates(self) -> Iterator[Batch]:
        """Every batch whose turn comes while nothing is accepted.

        Without the rows that wait for a row of their own subject: while that row fails they are not
        sent.
        """
        for lane in self._ordered.lanes():
            yield from self._ordered.candidates(lane, self._aside(lane))

    def _deadline_of(self, lane: Lane) -> float | None:
        """When this lane may continue; None while it waits for an answer or for a hold's end."""
        _, application_id = lane
        free_at = self._throttles.free_at(application_id)
        if self._holds.reason(application_id) is not None or free_at is None:
            return None
        due = -math.inf if self._ordered.ready(lane) else self._ordered.next_due(lane)
        return None if due is None else max(due, free_at)

    def _pop(self, lane: Lane, monotonic_seconds: float) -> Batch | None:
        return self._ordered.pop(
            lane, monotonic_seconds, self._aside(lane), self._isolation.set_apart
        )

    def _aside(self, lane: Lane) -> list[Batch]:
        """The batches of this lane that stepped aside: in quarantine, and under a hold."""
        _, application_id = lane
        held = self._holds.of(application_id, self._ordered.topics)
        candidates = (*self._quarantine.of(application_id), *held)
        return [
            batch
            for batch in candidates
            if lane_of(batch) == lane and self._ordered.has_order(batch)
        ]
