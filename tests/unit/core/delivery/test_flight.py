"""Requests in flight: what the end of a suspect batch's request says of the destination."""

from __future__ import annotations

import pytest

from tests.builders import make_batch
from worker.core.delivery.backoff import Backoff
from worker.core.delivery.breaker import BreakerState
from worker.core.delivery.flight import Flight
from worker.core.delivery.limiter import LimiterRules
from worker.core.delivery.outcome import Outcome, Refused, Retry, RetryKind

FAILED = Retry("http_503", 0.0, RetryKind.FAILED)
FAILURES_MAX = 3


def flight() -> Flight:
    return Flight(LimiterRules(4, FAILURES_MAX), Backoff(1.0, 60.0, lambda: 0.5))


def end(requests: Flight, outcome: Outcome, *, of_suspect: bool = False) -> BreakerState:
    batch = make_batch(1)
    requests.start(batch, 0.0)
    (requests.end_suspect if of_suspect else requests.end)(batch.id, outcome, 0.0)
    return BreakerState(requests.destination().breaker)


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
    requests = flight()
    for _ in range(FAILURES_MAX - 1):
        end(requests, FAILED)
    end(requests, outcome, of_suspect=True)
    assert end(requests, FAILED) is BreakerState.CLOSED


@pytest.mark.parametrize(
    "kind",
    [RetryKind.FAILED, RetryKind.AMBIGUOUS, RetryKind.TIMED_OUT, RetryKind.CUT_OFF],
    ids=lambda kind: str(kind.name),
)
def test_a_failure_of_a_suspect_says_nothing_of_the_destination(kind: RetryKind) -> None:
    requests = flight()
    for _ in range(FAILURES_MAX * 2):
        end(requests, Retry("failure", 0.0, kind), of_suspect=True)
    assert end(requests, FAILED) is BreakerState.CLOSED


def test_a_destination_that_suspects_can_not_reach_is_away() -> None:
    requests = flight()
    not_sent = Retry("connect_failed", 0.0, RetryKind.NOT_SENT)
    states = [end(requests, not_sent, of_suspect=True) for _ in range(FAILURES_MAX)]
    assert states == [BreakerState.CLOSED] * (FAILURES_MAX - 1) + [BreakerState.OPEN]
