"""A dispatcher with open settings, and methods for what happens to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.builders import make_batch, make_delivery_rules, now_at
from worker.core.counters.snapshot import DeliveryStatus
from worker.core.delivery.dispatcher import Dispatcher
from worker.core.delivery.flow_control import Backoff
from worker.core.delivery.limiter import LimiterRules
from worker.core.delivery.settlement import AnswerResult, Settlement
from worker.core.model.answer import Ambiguous, Answer, NotSent, Response, TransportFault
from worker.core.model.batch import Batch
from worker.core.model.record import Assignment, AssignmentState
from worker.core.model.row import Row

LOST = Ambiguous(TransportFault.CONNECTION_LOST, 0.1)
TIMED_OUT = Ambiguous(TransportFault.TIMEOUT, 25.0)
REFUSED_CONNECTION = NotSent(TransportFault.CONNECT_FAILED, 0.1)


def status(code: int, retry_after: str | None = None, excerpt: str = "") -> Response:
    """An answer of this status."""
    return Response(code, retry_after, excerpt, 0.1)


def delivered_rows(settlement: Settlement) -> list[Row]:
    """The rows that were answered 200."""
    return [row for batch in settlement.delivered for row in batch.rows]


def offsets(rows: list[Row] | tuple[Row, ...]) -> list[int]:
    """The offsets of these rows."""
    return [row.record.offset for row in rows]


@dataclass
class Stage:
    """A dispatcher, the time, and the state of each assignment (ASSIGNED by default)."""

    requests_in_flight_max: int = 4
    systemic_ratio: float = 0.5
    systemic_rows_min: int = 20
    breaker_failures_max: int = 1000
    bisect_requests_per_minute_max: int = 60_000
    uniform: Callable[[], float] = lambda: 0.5
    ordered: frozenset[tuple[str, str]] = frozenset()
    seconds: float = 0.0
    states: dict[Assignment, AssignmentState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rules = make_delivery_rules(
            limiter=LimiterRules(self.requests_in_flight_max, self.breaker_failures_max),
            systemic_ratio=self.systemic_ratio,
            systemic_rows_min=self.systemic_rows_min,
            bisect_requests_per_minute_max=self.bisect_requests_per_minute_max,
            ordered=self.ordered,
        )
        self.dispatcher = Dispatcher(rules, Backoff(0.5, 60.0, self.uniform), self.state_of)

    def state_of(self, assignment: Assignment) -> AssignmentState:
        return self.states.get(assignment, AssignmentState.ASSIGNED)

    def submit(self, *batches: Batch) -> list[Batch]:
        """Submit, and send what may be sent."""
        self.dispatcher.submit(batches)
        return self.start()

    def start(self) -> list[Batch]:
        """What is sent now; nothing may be settled by it."""
        posts, settlement = self.dispatcher.start(now_at(self.seconds))
        assert (settlement.delivered, settlement.refused, settlement.returned) == ([], [], [])
        return posts

    def start_at(self, seconds: float) -> list[Batch]:
        """What is sent at that moment."""
        self.seconds = seconds
        return self.start()

    def result(self, batch: Batch, answer: Answer) -> AnswerResult:
        """The request of this batch ends now."""
        return self.dispatcher.answer(batch.id, answer, now_at(self.seconds))

    def answer(self, batch: Batch, answer: Answer) -> Settlement:
        """The same: the rows that leave with it."""
        return self.result(batch, answer).settlement

    def status(self, seconds: float = 0.0) -> DeliveryStatus:
        """The state of the delivery as operators see it at that moment."""
        return self.dispatcher.status(now_at(seconds))


def refused_again(stage: Stage, quarantined: Batch) -> list[Row]:
    """Accept another row of its application, and refuse this row once more; the rows given up."""
    company = make_batch(
        1,
        batch_id=f"company of {quarantined.id}",
        start=1_000_000,
        destination=quarantined.destination,
    )
    stage.dispatcher.submit([company])
    sent = stage.start()
    assert company in sent
    stage.answer(company, status(200))
    assert quarantined in stage.start()
    return [refusal.row for refusal in stage.answer(quarantined, status(400)).refused]
