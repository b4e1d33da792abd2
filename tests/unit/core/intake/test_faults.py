"""The name that was meant: typos are found, strangers are not, and no record makes it expensive."""

from __future__ import annotations

import json

import pytest

from tests.builders import make_value
from tests.unit.core.intake.reading import faults_of
from tests.yardstick import STALL_UNITS_MAX, units
from worker.core.intake.faults import NAME_CHARACTERS_MAX, UNKNOWN_SHOWN_MAX, nearest
from worker.core.model.fault import Reason
from worker.core.post_api.resource import ECOMMERCE, EVENTS, Identity

EVENT_NAMES = EVENTS.header(Identity.PROFILE_ID)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("evnt_name", "event_name"),
        ("eventName", "event_name"),
        ("EVENT_NAME", "event_name"),
        ("name", "os_name"),
        ("event_timestmap", "event_timestamp"),
        ("timestamp", "event_timestamp"),
        ("profileId", "profile_id"),
        ("devcie_model", "device_model"),
        ("aplication_id", "application_id"),
        ("mc", "mcc"),
        ("colour", ""),
        ("user_id", ""),
        ("x", ""),
        ("", ""),
        ("event_name" * 100, ""),
        ("и" * NAME_CHARACTERS_MAX, ""),
    ],
)
def test_a_typo_finds_its_name_and_a_stranger_none(name: str, meant: str) -> None:
    assert nearest(name, EVENT_NAMES) == meant


def test_the_exact_name_wins_over_all_that_are_like_it() -> None:
    names = ECOMMERCE.header(Identity.PROFILE_ID)
    assert [nearest(name, names) for name in names] == list(names)


def test_of_very_many_unknown_fields_the_rest_is_counted_in_one_fault() -> None:
    faults = faults_of(
        make_value(**{f"field_{number}": 1 for number in range(UNKNOWN_SHOWN_MAX + 7)})
    )
    assert [fault.reason for fault in faults] == [Reason.UNKNOWN_FIELD] * (UNKNOWN_SHOWN_MAX + 1)
    assert (faults[-1].field, faults[-1].message) == (
        "",
        "and 7 more fields that are not parameters of events",
    )


def test_a_record_of_a_hundred_thousand_fields_does_not_hold_up_the_loop() -> None:
    value = json.dumps({f"event_nam{number}": 1 for number in range(100_000)}).encode()
    assert units(lambda: faults_of(value)) < STALL_UNITS_MAX
