"""Bad values in every form and for every resource: each becomes a row or a rejection."""

from __future__ import annotations

import random

import pytest

from tests.builders import UNIX_SECONDS, FakeRecord, make_assignment, make_rules, now_at
from tests.hostile_values import HOSTILE_HEADERS, hostile_values
from tests.searches import share
from worker.core.intake.intake import Intake
from worker.core.intake.rules import Form
from worker.core.post_api.resource import RESOURCES
from worker.edges.kafka.stored_records import dead_letter_headers

COUNT = share(1000)
ATTRIBUTES = (
    "ce_specversion",
    "ce_type",
    "ce_id",
    "ce_source",
    "ce_time",
    "ce_subject",
    "content-type",
)
TEXTS = (
    None,
    b"",
    b"1.0",
    b"events",
    b"\xff\xfe",
    b"9" * 5000,
    b"2023-99-99T99:99:99Z",
    b"application/json",
    b"\0",
    "я".encode(),
)


def record(number: int, value: bytes | None, form: Form, chance: random.Random) -> FakeRecord:
    """The value, in the form's wrapping or bare."""
    if form is Form.ENVELOPE and value is not None and number % 3:
        value = b'{"type":"events","id":"x","data":' + value + b"}"
    own = [(name, chance.choice(TEXTS)) for name in ATTRIBUTES if chance.random() < 0.7]
    return FakeRecord(
        number,
        value,
        headers=[*own, *chance.choice(list(HOSTILE_HEADERS.values()))[:20]],
        timestamp=chance.choice((-1, 0, 2**62)),
    )


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("resource", RESOURCES)
def test_every_bad_record_is_a_row_or_a_rejection_that_can_be_written(
    resource: str, form: Form
) -> None:
    chance = random.Random(7)
    intake = Intake(make_rules(resource=RESOURCES[resource], form=form))
    values = hostile_values(COUNT, 7, UNIX_SECONDS)
    records = [record(number, one.value, form, chance) for number, one in enumerate(values)]
    rows, rejections = intake.read(make_assignment(), records, now_at())
    assert len(rows) + len(rejections) == COUNT
    for rejection in rejections:
        assert all(
            value is None or isinstance(value, bytes)
            for _, value in dead_letter_headers(rejection, "1")
        )
