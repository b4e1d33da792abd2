"""Applications that the API throttles: a 429 to one batch is one to all of its application.

The application is paused for as long as the API asks, and for some time more by chance, so that not
all workers resume at one moment. Then one request is the probe; when it is accepted one may be in
flight, then 2, 4, …, until the throttling is over. A further 429 begins another pause.

By application and not by host: a key is an application's own and the only name by which the API
knows its client, so its limits (the documentation has a daily one) are an application's. The others
go on: where one has used up its limit, they would be stopped for nothing. `AdaptiveConcurrency`
finds out how much the host accepts, and each 429 halves that for all. Where the host throttles
every client, each application learns it by the requests it has in flight, and then sends one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from worker.core.counters.snapshot import ThrottleStatus
from worker.core.delivery.breaker import Breaker, BreakerState
from worker.core.delivery.flow_control import Backoff
from worker.core.delivery.outcome import Outcome, Retry, RetryKind
from worker.core.model.batch import Batch
from worker.core.model.clock import Now
from worker.core.model.command import Severity, WriteLog


@dataclass(slots=True, eq=False)
class _Throttle:
    """`in_flight` are the requests that were started under it: earlier ones can't end it."""

    breaker: Breaker
    reason: str
    since_unix_seconds: float
    in_flight: set[str] = field(default_factory=set)
    waiting: deque[Batch] = field(default_factory=deque)

    def free_at(self) -> float | None:
        """The time from which one more request may start, in monotonic seconds.

        None while an answer has to come first.
        """
        if self.breaker.state is BreakerState.OPEN:
            return self.breaker.due_seconds
        return -math.inf if len(self.in_flight) < self.breaker.permits else None

    def pause(self, outcome: Retry, now: Now, *, is_probe: bool) -> None:
        """Send nothing for a while. Requests from before the pause can't end it."""
        self.breaker.fail(
            now.monotonic_seconds, wait_seconds_min=outcome.wait_seconds_min, is_probe=is_probe
        )
        if self.breaker.state is BreakerState.OPEN:
            self.in_flight.clear()


class Throttles:
    """The throttled applications, each with the batches that wait for their turn.

    Args:
        requests_in_flight_max: the number of requests at once at which a ramp ends.
        backoff: the wait beyond what the API asks for.
    """

    def __init__(self, requests_in_flight_max: int, backoff: Backoff) -> None:
        self._requests_in_flight_max = requests_in_flight_max
        self._backoff = backoff
        self._throttles: dict[int, _Throttle] = {}
        # Of applications that are throttled no more.
        self._released: deque[Batch] = deque()

    def admits(self, application_id: int, monotonic_seconds: float) -> bool:
        """True if one more request of this application may start."""
        throttle = self._throttles.get(application_id)
        if throttle is None:
            return True
        free_at = throttle.free_at()
        return free_at is not None and free_at <= monotonic_seconds

    def free_at(self, application_id: int) -> float | None:
        """The time from which one more request of this application may start.

        In the past where it isn't throttled; None while an answer has to come first.
        """
        throttle = self._throttles.get(application_id)
        return -math.inf if throttle is None else throttle.free_at()

    def paused_until(self, application_id: int) -> float | None:
        """The end of this application's pause, in monotonic seconds; None where there is none."""
        throttle = self._throttles.get(application_id)
        return (
            throttle.breaker.due_seconds
            if throttle is not None and throttle.breaker.state is BreakerState.OPEN
            else None
        )

    def start(self, batch: Batch) -> None:
        """This batch's request starts."""
        throttle = self._throttles.get(batch.destination.application_id)
        if throttle is not None:
            throttle.in_flight.add(batch.id)
            if throttle.breaker.state is BreakerState.OPEN:
                throttle.breaker.probe()

    def end(self, batch: Batch, outcome: Outcome, now: Now) -> list[WriteLog]:
        """The request of this batch ended; returns what is to be logged of the application."""
        application_id = batch.destination.application_id
        throttle = self._throttles.get(application_id)
        if isinstance(outcome, Retry) and outcome.kind is RetryKind.THROTTLED:
            return self._throttled(application_id, throttle, batch.id, outcome, now)
        if throttle is None or batch.id not in throttle.in_flight:
            return []
        throttle.in_flight.discard(batch.id)
        if not isinstance(outcome, Retry):
            throttle.breaker.succeed()
        elif throttle.breaker.state is BreakerState.PROBING:
            # The probe got no answer: another follows.
            throttle.pause(outcome, now, is_probe=True)
        return self._ended(application_id, throttle)

    def wait(self, batch: Batch) -> None:
        """Let this batch wait for its turn, behind the others."""
        self._throttles[batch.destination.application_id].waiting.append(batch)

    def wait_first(self, batch: Batch) -> None:
        """Let this batch, which was throttled, wait before the others.

        Its application must be throttled.
        """
        self._throttles[batch.destination.application_id].waiting.appendleft(batch)

    def pop(self, monotonic_seconds: float) -> Batch | None:
        """A batch whose turn has come; None if there is none."""
        if self._released:
            return self._released.popleft()
        for application_id, throttle in self._throttles.items():
            if throttle.waiting and self.admits(application_id, monotonic_seconds):
                return throttle.waiting.popleft()
        return None

    def next_deadline(self) -> float | None:
        """When the next waiting batch may be sent, in monotonic seconds.

        None while answers have to come first.
        """
        if self._released:
            return -math.inf
        dues = [throttle.free_at() for throttle in self._throttles.values() if throttle.waiting]
        return min((due for due in dues if due is not None), default=None)

    def replace_waiting(self, transform: Callable[[Batch], Batch | None]) -> None:
        """Pass every waiting batch through `transform`: it stays, is replaced, or (None) goes."""
        self._released = _passed(self._released, transform)
        for throttle in self._throttles.values():
            throttle.waiting = _passed(throttle.waiting, transform)

    def batches(self) -> list[Batch]:
        """Every batch that waits here."""
        return [
            *self._released,
            *(batch for throttle in self._throttles.values() for batch in throttle.waiting),
        ]

    def status(self, now: Now) -> list[ThrottleStatus]:
        """The throttled applications, for operators."""
        return [
            ThrottleStatus(
                application_id=application_id,
                reason=throttle.reason,
                since_unix_seconds=throttle.since_unix_seconds,
                paused_seconds=max(
                    0.0, (self.paused_until(application_id) or 0.0) - now.monotonic_seconds
                ),
                rows=sum(len(batch.rows) for batch in throttle.waiting),
            )
            for application_id, throttle in self._throttles.items()
        ]

    def _throttled(
        self,
        application_id: int,
        throttle: _Throttle | None,
        batch_id: str,
        outcome: Retry,
        now: Now,
    ) -> list[WriteLog]:
        is_new = throttle is None
        if throttle is None:
            breaker = Breaker(
                failures_max=1, permits_max=self._requests_in_flight_max, backoff=self._backoff
            )
            throttle = self._throttles[application_id] = _Throttle(
                breaker, outcome.reason, now.unix_seconds
            )
        is_probe = batch_id in throttle.in_flight
        throttle.in_flight.discard(batch_id)
        throttle.pause(outcome, now, is_probe=is_probe)
        if not is_new:
            return []
        fields: dict[str, str | int | float] = {
            "application_id": application_id,
            "reason": outcome.reason,
            "pause_seconds": round(throttle.breaker.due_seconds - now.monotonic_seconds, 3),
        }
        return [WriteLog(Severity.WARNING, "throttling_began", fields)]

    def _ended(self, application_id: int, throttle: _Throttle) -> list[WriteLog]:
        """End the throttling at the top of the ramp, or when nothing waits any more."""
        state = throttle.breaker.state
        is_through = (
            state is BreakerState.RAMPING and not throttle.waiting and not throttle.in_flight
        )
        if state is not BreakerState.CLOSED and not is_through:
            return []
        del self._throttles[application_id]
        self._released.extend(throttle.waiting)
        return [WriteLog(Severity.INFO, "throttling_ended", {"application_id": application_id})]


def _passed(batches: deque[Batch], transform: Callable[[Batch], Batch | None]) -> deque[Batch]:
    return deque(batch for batch in map(transform, batches) if batch is not None)
