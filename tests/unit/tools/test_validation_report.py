"""What `validate` reports beside faults: warnings, and what invalid records look like."""

from __future__ import annotations

import pytest

from tests.builders import make_value
from tests.unit.tools.stored import make_rejection, settings
from worker.core.counters.counters import CUT, PRECISION, UNKNOWN, ContractDrift
from worker.tools.validation_report import GUESS_RECORDS_MAX, Guess, Warnings

SHOW = b'{"ecom_event_type": "SHOW_SCREEN", "screen_name": "main"}'


def hint(*values: bytes, applied: str = "events") -> str:
    guess = Guess()
    guess.look_at([make_rejection(value=value) for value in values], applied)
    return guess.hint


def test_only_differences_that_are_delivered_are_warnings() -> None:
    drift = ContractDrift()
    drift.drift("e", "price", PRECISION, 2)
    drift.drift("e", "payload", CUT)
    drift.drift("e", "more", UNKNOWN)
    drift.drift("e", "mcc", "string")
    drift.without_key["missing"] = 3
    warnings = Warnings()
    (route, _) = settings().resolved_routes()
    warnings.add(drift, route)
    warnings.add(drift, route)
    assert warnings.document() == [
        {"field": "price", "change": "precision", "records": 4},
        {"field": "payload", "change": "cut", "records": 2},
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (SHOW, "ecommerce"),
        (b'{"attributes": {}}', "profiles"),
        (b'{"type": "bought", "data": "{}", "id": 1}', "form: envelope"),
        (b'{"type": "bought", "data": {}, "specversion": "1.0"}', ""),
        (b'{"currency": "RUB"}', ""),
        (make_value(), ""),
        (b"{}", ""),
        (b"[" * 100_000, ""),
        (b'{"\xff": 1}', ""),
    ],
)
def test_a_record_looks_like_the_resource_that_has_most_of_its_fields(
    value: bytes, expected: str
) -> None:
    assert expected in hint(value)
    assert bool(hint(value)) == bool(expected)


def test_the_resource_that_was_applied_is_no_hint() -> None:
    assert hint(SHOW, applied="ecommerce") == ""


def test_one_record_of_another_kind_takes_the_hint_away_and_only_the_first_ones_count() -> None:
    assert hint(SHOW, b'{"attributes": {}}') == ""
    assert "ecommerce" in hint(*[SHOW] * GUESS_RECORDS_MAX, b"{}")
