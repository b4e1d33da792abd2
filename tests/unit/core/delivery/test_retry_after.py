"""The Retry-After header in every form that a server or a proxy may send."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.delivery.retry_after import seconds_to_wait

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


@settings(max_examples=500)
@given(
    st.text(max_size=40) | st.text(st.sampled_from("0123456789 :,+-GMTJan"), max_size=40) | dates
)
def test_the_wait_is_never_negative_and_never_above_the_bound(header: str) -> None:
    assert 0.0 <= wait(header) <= MAX
