"""What every answer means: a table over all statuses and all transport faults."""

from __future__ import annotations

import pytest

from worker.core.delivery.outcome import (
    Delivered,
    Held,
    Outcome,
    Refused,
    Retry,
    RetryKind,
    TooLarge,
    classify,
    label,
)
from worker.core.model.answer import Ambiguous, Answer, NotSent, Response, TransportFault

RETRIED = {408, 420, 425, 429, *range(500, 600)}


def expected(status: int) -> Outcome:
    if status == 200:
        return Delivered()
    if status in (400, 422):
        return Refused(status)
    if status == 413:
        return TooLarge(413)
    if status in RETRIED:
        kinds = {
            420: RetryKind.THROTTLED,
            429: RetryKind.THROTTLED,
            425: RetryKind.EARLY,
            504: RetryKind.TIMED_OUT,
        }
        return Retry(f"http_{status}", 0.0, kinds.get(status, RetryKind.FAILED))
    return Held(f"http_{status}")


def judge(answer: Answer) -> Outcome:
    return classify(answer, unix_seconds=0.0, retry_after_seconds_max=300.0)


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_the_outcome_of_the_table(status: int) -> None:
    assert judge(Response(status, None, "", 0.1)) == expected(status)


@pytest.mark.parametrize("status", [0, 99, 600, 999])
def test_a_status_out_of_the_ordinary_drops_nothing(status: int) -> None:
    assert judge(Response(status, None, "", 0.1)) == Held(f"http_{status}")


@pytest.mark.parametrize("fault", TransportFault)
def test_a_request_without_a_connection_is_retried_and_cannot_have_been_loaded(
    fault: TransportFault,
) -> None:
    assert judge(NotSent(fault, 0.1)) == Retry(fault.value, 0.0, RetryKind.NOT_SENT)


@pytest.mark.parametrize("status", range(100, 600))
def test_a_tunnel_that_a_proxy_refuses_was_not_sent_and_waits_like_the_same_answer(
    status: int,
) -> None:
    outcome = judge(NotSent(TransportFault.PROXY_REFUSED, 0.1, status))
    if status in RETRIED:
        assert outcome == Retry(f"proxy_{status}", 0.0, RetryKind.NOT_SENT)
    else:
        assert outcome == Held(f"proxy_{status}")


@pytest.mark.parametrize("fault", TransportFault)
def test_a_request_without_an_answer_is_retried_and_may_have_been_loaded(
    fault: TransportFault,
) -> None:
    kinds = {
        TransportFault.UPLOAD_RESET: RetryKind.CUT_OFF,
        TransportFault.TIMEOUT: RetryKind.TIMED_OUT,
    }
    assert judge(Ambiguous(fault, 0.1)) == Retry(
        fault.value, 0.0, kinds.get(fault, RetryKind.AMBIGUOUS)
    )
    assert label(judge(Ambiguous(fault, 0.1))) == "ambiguous"


@pytest.mark.parametrize("status", sorted(RETRIED - set(range(505, 600))))
def test_a_retry_honours_retry_after_up_to_the_bound(status: int) -> None:
    for header, wait in (("7", 7.0), ("100000", 300.0), ("soon", 0.0)):
        outcome = judge(Response(status, header, "", 0.1))
        assert isinstance(outcome, Retry)
        assert outcome.wait_seconds_min == wait


@pytest.mark.parametrize("status", [200, 301, 400, 403, 413])
def test_retry_after_on_any_other_answer_means_nothing(status: int) -> None:
    assert judge(Response(status, "7", "", 0.1)) == expected(status)


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        (Delivered(), "delivered"),
        (Refused(400), "refused"),
        (TooLarge(413), "too_large"),
        (Retry("http_503", 0.0, RetryKind.FAILED), "retried"),
        (Retry("connection_lost", 0.0, RetryKind.AMBIGUOUS), "ambiguous"),
        (Retry("http_504", 0.0, RetryKind.TIMED_OUT), "ambiguous"),
        (Held("http_403"), "held"),
    ],
)
def test_each_outcome_has_its_label(outcome: Outcome, name: str) -> None:
    assert label(outcome) == name
