"""What every answer means: a table over all statuses and all transport faults."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.searches import CHARACTERS, examples
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
    seconds_to_wait,
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


def outcome_of(answer: Answer) -> Outcome:
    return classify(answer, unix_seconds=0.0, retry_after_seconds_max=300.0)


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_the_outcome_of_the_table(status: int) -> None:
    assert outcome_of(Response(status, None, "", 0.1)) == expected(status)


@pytest.mark.parametrize("status", [0, 99, 600, 999])
def test_a_status_out_of_the_ordinary_drops_nothing(status: int) -> None:
    assert outcome_of(Response(status, None, "", 0.1)) == Held(f"http_{status}")


@pytest.mark.parametrize("fault", TransportFault)
def test_a_request_without_a_connection_is_retried_and_cannot_have_been_loaded(
    fault: TransportFault,
) -> None:
    assert outcome_of(NotSent(fault, 0.1)) == Retry(fault.value, 0.0, RetryKind.NOT_SENT)


@pytest.mark.parametrize("status", range(100, 600))
def test_a_tunnel_that_a_proxy_refuses_was_not_sent_and_waits_like_the_same_answer(
    status: int,
) -> None:
    outcome = outcome_of(NotSent(TransportFault.PROXY_REFUSED, 0.1, status))
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
    assert outcome_of(Ambiguous(fault, 0.1)) == Retry(
        fault.value, 0.0, kinds.get(fault, RetryKind.AMBIGUOUS)
    )
    assert label(outcome_of(Ambiguous(fault, 0.1))) == "ambiguous"


@pytest.mark.parametrize("status", sorted(RETRIED - set(range(505, 600))))
def test_a_retry_honours_retry_after_up_to_the_bound(status: int) -> None:
    for header, wait in (("7", 7.0), ("100000", 300.0), ("soon", 0.0)):
        outcome = outcome_of(Response(status, header, "", 0.1))
        assert isinstance(outcome, Retry)
        assert outcome.wait_seconds_min == wait


@pytest.mark.parametrize("status", [200, 301, 400, 403, 413])
def test_retry_after_on_any_other_answer_means_nothing(status: int) -> None:
    assert outcome_of(Response(status, "7", "", 0.1)) == expected(status)


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


# --- Retry-After ----------------------------------------------------------------------------------


NOW = 1_700_000_000.0
MAX = 300.0


def wait(header: str | None) -> float:
    return seconds_to_wait(header, unix_seconds=NOW, max_seconds=MAX)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param(None, 0.0, id="absent"),
        pytest.param("", 0.0, id="empty"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param("120", 120.0, id="seconds"),
        pytest.param(" 120\t", 120.0, id="seconds with space around"),
        pytest.param("007", 7.0, id="leading zeros"),
        pytest.param("300", MAX, id="the bound itself"),
        pytest.param("301", MAX, id="just above the bound"),
        pytest.param("999999999", MAX, id="nine digits"),
        pytest.param("9" * 5000, MAX, id="thousands of digits"),
        pytest.param("-5", 0.0, id="negative"),
        pytest.param("1.5", 0.0, id="fraction"),
        pytest.param("5 s", 0.0, id="a unit"),
        pytest.param("²", 0.0, id="a digit that int() refuses"),
        pytest.param("٣", 0.0, id="a digit of another script"),
        pytest.param("soon", 0.0, id="a word"),
        pytest.param(formatdate(NOW + 60, usegmt=True), 60.0, id="a date"),
        pytest.param(formatdate(NOW, usegmt=True), 0.0, id="this very second"),
        pytest.param(formatdate(NOW - 60, usegmt=True), 0.0, id="a date that is past"),
        pytest.param(formatdate(NOW + 10**6, usegmt=True), MAX, id="a date far ahead"),
        pytest.param("Tue, 14 Nov 2023 23:14:20 +0100", 60.0, id="a date with a zone"),
        pytest.param("Tue, 14 Nov 2023 22:14:20 -0000", 0.0, id="a naive date"),
        pytest.param("Tue, 99 Nov 2023 22:14:20 GMT", 0.0, id="a day that does not exist"),
        pytest.param("2023-11-14T22:14:20Z", 0.0, id="a date of another form"),
        pytest.param("Tuesday, 14-Nov-23 22:14:20 GMT", 60.0, id="an obsolete date"),
        pytest.param("Tue Nov 14 22:14:20 2023", 60.0, id="another obsolete date"),
        pytest.param("Thu, 01 Jan 99999999999 00:00:00 GMT", 0.0, id="a year beyond a C integer"),
        pytest.param("Thu, 01 Jan 2026 00:00:00 +99999999999", 0.0, id="a zone beyond a C integer"),
        pytest.param("Thu, 01 Jan 2026 00:00:00 +9999", MAX, id="a zone of more than a day"),
    ],
)
def test_the_header_is_read_in_all_its_forms(header: str | None, seconds: float) -> None:
    assert wait(header) == seconds


digits = st.text("0123456789", max_size=12)
dates = st.builds(
    "Thu, {} Jan {} {}:00:00 {}{}".format,
    digits,
    digits,
    digits,
    st.sampled_from(["GMT", "+", "-"]),
    digits,
)


@examples(500)
@given(
    st.text(CHARACTERS, max_size=40)
    | st.text(st.sampled_from("0123456789 :,+-GMTJan"), max_size=40)
    | dates
)
def test_the_wait_is_never_negative_and_never_above_the_bound(header: str) -> None:
    assert 0.0 <= wait(header) <= MAX
