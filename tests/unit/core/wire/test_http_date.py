"""Dates in headers: every form that HTTP has, and nothing that could raise."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.searches import CHARACTERS, examples
from worker.core.wire.http_date import unix_seconds_of

# RFC 9110's own example.
EXAMPLE = 784_111_777.0

digits = st.text("0123456789", max_size=12)
odd_dates = st.builds(
    "{}{} {} {} {}:{}:{} {}".format,
    st.sampled_from(["", "Thu, ", "Thursday, ", "Thu ", ","]),
    digits,
    st.sampled_from(["Jan", "Feb", "Dec", "Zzz", "", "²"]),
    digits,
    digits,
    digits,
    digits,
    st.one_of(
        st.sampled_from(["GMT", "UTC", "", "EST", "-0000"]),
        digits.map("+{}".format),
        digits.map("-{}".format),
    ),
)


@pytest.mark.parametrize(
    "header",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 09:49:37 +0100",
        "Sun, 06 Nov 1994 03:19:37 -0530",
        " Sun, 06 Nov 1994 08:49:37 GMT\t",
    ],
)
def test_every_form_of_a_date_is_the_same_moment(header: str) -> None:
    assert unix_seconds_of(header) == EXAMPLE


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "now",
        "784111777",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 -0000",
        "Sun, 06 Nov 1994 08:49:37 EST",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 9999999999999999999 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +999999999999999999",
        "Sun, 06 Nov 1994 08:49:37 GMT" + " " * 65_536,
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_no_date_is_none(header: str | None) -> None:
    assert unix_seconds_of(header) is None


def test_a_leap_second_is_the_second_before_it() -> None:
    assert unix_seconds_of("Sat, 31 Dec 2016 23:59:60 GMT") == unix_seconds_of(
        "Sat, 31 Dec 2016 23:59:59 GMT"
    )


@given(st.integers(0, 250_000_000_000))
def test_a_date_that_http_servers_write_comes_back(seconds: int) -> None:
    assert unix_seconds_of(formatdate(seconds, usegmt=True)) == seconds


@examples(500)
@given(st.text(CHARACTERS, max_size=80) | odd_dates)
@example("Thu, 01 Jan 99999999999 00:00:00 GMT")
@example("Thu, 01 Jan 2026 00:00:00 +99999999999")
def test_no_header_raises(header: str) -> None:
    moment = unix_seconds_of(header)
    assert moment is None or abs(moment) < 1e12
