"""Requests in flight: when one more may start, and which answer changes which rule."""

from __future__ import annotations

from itertools import count

import pytest

from tests.builders import make_batch
from worker.core.delivery.breaker import BreakerState
from worker.core.delivery.flow_control import Backoff
from worker.core.delivery.limiter import Limiter, LimiterRules
from worker.core.delivery.outcome import (
    Delivered,
    Held,
    Outcome,
    Refused,
    Retry,
    RetryKind,
    TooLarge,
)
from worker.core.model.batch import Batch
from worker.core.model.clock import Now

FAILED = Retry("http_503", 0.0, RetryKind.FAILED)
FAILURES_MAX = 3
NUMBERS = count()


def made(in_flight_max: int = 4, **rates: float) -> Limiter:
    return Limiter(
        LimiterRules(in_flight_max, FAILURES_MAX, **rates), Backoff(1.0, 60.0, lambda: 0.5)
    )


def start(limiter: Limiter, at: float = 0.0, rows: int = 1) -> Batch:
    batch = make_batch(rows, batch_id=f"batch-{next(NUMBERS)}")
    limiter.start(batch, at)
    return batch


def start_all(limiter: Limiter, at: float = 0.0) -> list[Batch]:
    batches = []
    while limiter.is_free(at):
        batches.append(start(limiter, at))
    return batches


def end_all(limiter: Limiter, batches: list[Batch], outcome: Outcome, at: float = 0.0) -> None:
    for batch in batches:
        assert limiter.end(batch.id, outcome, at)[0] is batch


def test_as_many_requests_start_as_allowed_and_each_makes_room_with_its_end() -> None:
    limiter = made(2)
    batches = start_all(limiter)
    assert (len(batches), limiter.batches(), limiter.free_at()) == (2, batches, None)
    end_all(limiter, batches[:1], Delivered())
    assert (limiter.batches(), limiter.is_free(0.0)) == (batches[1:], True)


def test_a_request_without_a_free_permit_cannot_start() -> None:
    limiter = made(1)
    start_all(limiter)
    with pytest.raises(RuntimeError, match="no permit is free: 1 taken"):
        start(limiter)


def test_a_request_that_did_not_start_cannot_end() -> None:
    with pytest.raises(KeyError):
        made().end("unknown", Delivered(), 0.0)


# outcome: how many may be in flight after it met a limit of 4, and whether three of it open the
# breaker
OUTCOMES: dict[str, tuple[Outcome, int, bool]] = {
    "delivered": (Delivered(), 4, False),
    "refused": (Refused(400), 4, False),
    "too large": (TooLarge(413), 4, False),
    "held": (Held("http_403"), 4, False),
    "throttled": (Retry("http_429", 0.0, RetryKind.THROTTLED), 2, False),
    "early": (Retry("http_425", 0.0, RetryKind.EARLY), 4, False),
    "failed": (FAILED, 2, True),
    "ambiguous": (Retry("connection_lost", 0.0, RetryKind.AMBIGUOUS), 2, True),
    "timed out": (Retry("timeout", 0.0, RetryKind.TIMED_OUT), 2, True),
    "not sent": (Retry("connect_failed", 0.0, RetryKind.NOT_SENT), 4, True),
}


@pytest.mark.parametrize(("outcome", "limit", "opens"), OUTCOMES.values(), ids=OUTCOMES)
def test_each_outcome_moves_the_limit_and_the_breaker(
    outcome: Outcome, limit: int, opens: bool
) -> None:
    limiter = made()
    end_all(limiter, start_all(limiter)[:1], outcome)
    assert limiter.status(Now(0.0, 0.0)).requests_in_flight_limit == limit
    limiter = made()
    end_all(limiter, start_all(limiter)[:3], outcome)
    assert limiter.is_broken == opens


def test_an_open_breaker_lets_one_request_pass_when_its_wait_is_over() -> None:
    limiter = made()
    end_all(limiter, start_all(limiter), FAILED, 10.0)
    assert limiter.free_at() == 10.5
    assert not limiter.is_free(10.4)
    (probe,) = start_all(limiter, 10.5)
    assert limiter.free_at() is None
    end_all(limiter, [probe], Delivered(), 11.0)
    assert len(start_all(limiter, 11.0)) == 1


def test_a_refused_row_shows_that_the_destination_is_back() -> None:
    limiter = made()
    end_all(limiter, start_all(limiter), FAILED, 10.0)
    end_all(limiter, start_all(limiter, 10.5), Refused(400), 11.0)
    assert limiter.status(Now(0.0, 0.0)).breaker == BreakerState.RAMPING


def test_the_operators_rates_hold() -> None:
    limiter = made(requests_per_second_max=2.0)
    # A second's worth, and the one that finds the bucket just empty.
    assert len(start_all(limiter)) == 3
    assert limiter.free_at() == 0.5
    limiter = made(rows_per_second_max=100.0)
    start(limiter, rows=500)
    assert limiter.free_at() == 4.0


def test_a_failing_destination_has_its_reason_its_start_and_its_next_probe() -> None:
    limiter = made()
    end_all(limiter, start_all(limiter), FAILED, 10.0)
    end_all(limiter, start_all(limiter, 10.5), FAILED, 11.0)
    status = limiter.status(Now(12.0, 1012.0))
    assert (status.failing_because, status.failing_since_unix_seconds) == (FAILED.reason, 1010.0)
    assert status.next_probe_unix_seconds == max(1012.0, 1000.0 + (limiter.free_at() or 0.0))
    end_all(limiter, start_all(limiter, 20.0), Delivered(), 20.0)
    while not limiter.is_healthy:
        end_all(limiter, start_all(limiter, 21.0), Delivered(), 21.0)
    status = limiter.status(Now(22.0, 1022.0))
    assert (
        status.failing_because,
        status.failing_since_unix_seconds,
        status.next_probe_unix_seconds,
    ) == (None, None, None)


# --- batches that fail while others are accepted --------------------------------------------------


def end(limiter: Limiter, outcome: Outcome, *, of_suspect: bool = False) -> BreakerState:
    batch = start(limiter)
    (limiter.end_suspect if of_suspect else limiter.end)(batch.id, outcome, 0.0)
    return BreakerState(limiter.status(Now(0.0, 0.0)).breaker)


@pytest.mark.parametrize(
    "outcome",
    [
        Retry("http_429", 0.0, RetryKind.THROTTLED),
        Retry("http_425", 0.0, RetryKind.EARLY),
        Refused(400),
    ],
    ids=["429", "425", "400"],
)
def test_an_answer_to_a_suspect_shows_that_the_destination_is_there(outcome: Outcome) -> None:
    limiter = made()
    for _ in range(FAILURES_MAX - 1):
        end(limiter, FAILED)
    end(limiter, outcome, of_suspect=True)
    assert end(limiter, FAILED) is BreakerState.CLOSED


@pytest.mark.parametrize(
    "kind",
    [RetryKind.FAILED, RetryKind.AMBIGUOUS, RetryKind.TIMED_OUT, RetryKind.CUT_OFF],
    ids=lambda kind: str(kind.name),
)
def test_a_failure_of_a_suspect_shows_nothing_about_the_destination(kind: RetryKind) -> None:
    limiter = made()
    for _ in range(FAILURES_MAX * 2):
        end(limiter, Retry("failure", 0.0, kind), of_suspect=True)
    assert end(limiter, FAILED) is BreakerState.CLOSED


def test_a_destination_that_suspects_can_not_reach_is_away() -> None:
    limiter = made()
    not_sent = Retry("connect_failed", 0.0, RetryKind.NOT_SENT)
    states = [end(limiter, not_sent, of_suspect=True) for _ in range(FAILURES_MAX)]
    assert states == [BreakerState.CLOSED] * (FAILURES_MAX - 1) + [BreakerState.OPEN]
