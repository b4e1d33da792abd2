"""Texts of faults: hints for typos, names and values that are cut and escaped."""

from __future__ import annotations

import json
from itertools import product

import pytest

from tests.builders import make_rules, make_value
from tests.unit.core.intake.reading import faults_of
from tests.yardstick import STALL_UNITS_MAX, units
from worker.core.counters.counters import OTHER, ContractDrift
from worker.core.intake.explain import explain
from worker.core.intake.faults import (
    FOUND_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    UNKNOWN_SHOWN_MAX,
    found,
    nearest,
    shown_name,
)
from worker.core.intake.rules import TimeWindow
from worker.core.model.fault import Reason
from worker.core.post_api.resource import ECOMMERCE, EVENTS, Identity

EVENT_NAMES = EVENTS.header(Identity.PROFILE_ID)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("evnt_name", "event_name"),
        ("eventName", "event_name"),
        ("EVENT_NAME", "event_name"),
        # Five columns end with it.
        ("name", ""),
        ("event_timestmap", "event_timestamp"),
        ("timestamp", "event_timestamp"),
        ("profileId", "profile_id"),
        ("devcie_model", "device_model"),
        ("aplication_id", "application_id"),
        ("mc", "mcc"),
        ("colour", ""),
        ("user_id", ""),
        ("event_value", ""),
        ("event_params", ""),
        ("device_name", ""),
        ("event_time", "event_timestamp"),
        ("user_profile_id", "profile_id"),
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


def test_the_key_has_no_place_in_a_record() -> None:
    (fault,) = faults_of(make_value(post_api_key="secret"))
    assert (fault.reason, fault.field) == (Reason.UNKNOWN_FIELD, "post_api_key")
    assert "the key never travels in records" in fault.message
    assert "did you mean" not in fault.message


def test_a_value_is_cut_before_it_is_escaped() -> None:
    whole, cut = FOUND_CHARACTERS_MAX - 2, FOUND_CHARACTERS_MAX - 4
    assert found("ё" * whole) == "'" + "\\u0451" * whole + "'"
    # A cut falls between two characters, never within an escape.
    for padding in range(8):
        long = "x" * padding + "ё" * 1000
        assert shown_characters(found(long)) == long[:cut]


def shown_characters(shown: str) -> str:
    """The characters that a cut value shows."""
    return shown[1:-3].encode("ascii").decode("unicode_escape")


NAMES = [
    "просмотр_фильма",
    "просмотр_сериала",
    "просмотр_" + "очень_" * 20 + "длинного_фильма",
    "просмотр_" + "очень_" * 20 + "длинного_сериала",
    "x" * NAME_CHARACTERS_MAX,
    "x" * (NAME_CHARACTERS_MAX + 1),
    "x" * (NAME_CHARACTERS_MAX + 2),
    "\\u043f",
    "п",
    "a\nb",
    "a\\nb",
    "'",
    '"',
    "\"'",
    "\\'",
    "\U0001f600" * 60,
    "\ud83d",
    "",
    OTHER,
    "\\x28other)",
]


def test_two_names_are_two_labels() -> None:
    shown = [shown_name(name) for name in NAMES]
    assert len({OTHER, *shown}) == len(NAMES) + 1, "a name is taken for the label of the rest"
    assert all(text.isascii() and text.isprintable() for text in shown)
    assert all(len(text) <= 10 * NAME_CHARACTERS_MAX for text in shown)


def test_drifts_of_two_russian_event_names_are_counted_apart() -> None:
    drift = ContractDrift()
    window = TimeWindow(0, 2**40, 0)
    for name, field in product(("просмотр_фильма", "просмотр_сериала"), ("длительность", "длина")):
        explain(make_value(event_name=name, **{field: 1}), make_rules(), window, drift=drift)
    assert list(drift.drifts.values()) == [1, 1, 1, 1]
