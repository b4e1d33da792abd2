"""Events outside of the time window are refused, with the age or the unit in the message."""

from __future__ import annotations

import pytest

from tests.builders import (
    UNIX_SECONDS,
    make_value,
)
from tests.unit.core.intake.reading import codes_of, faults_of, row_of
from worker.core.model.fault import Reason


@pytest.mark.parametrize("seconds", [UNIX_SECONDS * 1000, 10**11, 10**14 - 1])
def test_milliseconds_are_recognised_and_the_message_gives_the_seconds(seconds: int) -> None:
    (fault,) = faults_of(make_value(event_timestamp=seconds))
    assert fault.reason is Reason.MILLISECONDS
    assert fault.message.endswith(f"send Unix time in seconds: {seconds // 1000}")


@pytest.mark.parametrize(
    ("time", "unit"),
    [
        (UNIX_SECONDS * 10**6 + 999_999, "microseconds"),
        (10**14, "microseconds"),
        (10**17 - 1, "microseconds"),
        (UNIX_SECONDS * 10**9 + 999_999_999, "nanoseconds"),
        (10**17, "nanoseconds"),
    ],
)
def test_finer_units_are_named_and_the_message_gives_the_seconds(time: int, unit: str) -> None:
    (fault,) = faults_of(make_value(event_timestamp=time))
    seconds = time // (10**6 if unit == "microseconds" else 10**9)
    assert fault.reason is Reason.MILLISECONDS
    assert fault.message == f"{time} looks like {unit}; send Unix time in seconds: {seconds}"


@pytest.mark.parametrize("seconds", [UNIX_SECONDS - 1_209_600, UNIX_SECONDS, UNIX_SECONDS + 86_400])
def test_both_ends_of_the_time_window_are_taken(seconds: int) -> None:
    assert row_of(make_value(event_timestamp=seconds)).event_timestamp == seconds


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (UNIX_SECONDS - 1_209_601, Reason.TOO_OLD),
        (0, Reason.TOO_OLD),
        (UNIX_SECONDS + 86_401, Reason.IN_FUTURE),
        (10**11 - 1, Reason.IN_FUTURE),
        (UNIX_SECONDS + 10**9, Reason.IN_FUTURE),
        (2**64 - 1, Reason.MILLISECONDS),
    ],
)
def test_an_event_beyond_the_time_window_is_refused(seconds: int, reason: Reason) -> None:
    assert codes_of(make_value(event_timestamp=seconds)) == [(reason, "event_timestamp")]


def test_the_messages_of_old_and_future_events_say_by_how_much() -> None:
    (old,) = faults_of(make_value(event_timestamp=UNIX_SECONDS - 1_209_605))
    (ahead,) = faults_of(make_value(event_timestamp=UNIX_SECONDS + 86_407))
    assert "14 days (1209605 s) old; the limit is 14 days" in old.message
    assert "7 s later" in ahead.message
