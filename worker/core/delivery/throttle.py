"""Applications that the API throttles: a 429 to one batch stops all batches of its application.

The application is paused for as long as the API requests, plus a random time, so that not all
workers resume at the same moment. Then one request is the probe. When it is accepted, 1 request may
be in flight, then 2, 4, …, until the throttling is over. Another 429 begins another pause.

An application is throttled, not the host: the API knows its client only by the key, and a key
belongs to one application, so the limits (the documentation has a daily limit) are an
application's. The other applications continue: if one has used up its limit, there is no reason to
stop them. Each 429 also halves the number of requests in flight of all applications
(`AdaptiveConcurrency`), because the load on the host concerns all. If the host throttles every
client, each application gets a 429 to its own requests, and is then paused as well.
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
    """A throttled application.

    `in_flight` are the requests that started after the throttling began. Only they can end it.
    """

    breaker: Breaker
    reason: str
    since_unix_seconds: float
    in_flight: set[str] = field(default_factory=set)
    waiting: deque[Batch] = field(default_factory=deque)

    def free_at(self) -> float | None:
        """The time from which one more request may start, in monotonic seconds.

        None while no request may start before an answer arrives.
        """
        if self.breaker.state is BreakerState.OPEN:
            return self.breaker.due_seconds
        return -math.inf if len(self.in_flight) < self.breaker.permits else None

    def is_felt(self, monotonic_seconds: float) -> bool:
        """True while a batch waits, a request is in flight, or no request may start."""
        free_at = self.free_at()
        return (
            bool(self.waiting or self.in_flight) or free_at is None or monotonic_seconds < free_at
        )

    def pause(self, outcome: Retry, now: Now, *, is_probe: bool) -> None:
        """Send nothing until the pause is over; requests that started before it can't end it."""
        self.breaker.fail(
            now.monotonic_seconds, wait_seconds_min=outcome.wait_seconds_min, is_probe=is_probe
        )
        if self.breaker.state is BreakerState.OPEN:
            self.in_flight.clear()


class Throttles:
    """The throttled applications, each with the batches that wait for their turn.

    Args:
        requests_in_flight_max: the number of requests in flight at which a ramp ends.
        backoff: the random time that is added to the pause.
    """

    def __init__(self, requests_in_flight_max: int, backoff: Backoff) -> None:
        self._requests_in_flight_max = requests_in_flight_max
        self._backoff = backoff
        self._throttles: dict[int, _Throttle] = {}
        # The batches of applications whose throttling has ended.
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

        In the past where the application isn't throttled; None while no request may start before an
        answer arrives.
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
        """The request of this batch ended; returns the log lines about the application."""
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
            # The probe failed, so another pause and another probe follow.
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

        None while no batch may be sent before an answer arrives.
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
        """The throttled applications, for operators.

        Without those whose pause is over and that have nothing to send: their batches have left
        with their partitions.
        """
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
            if throttle.is_felt(now.monotonic_seconds)
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
        """End the throttling when the ramp ends, or when no batch waits and none is in flight."""
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
