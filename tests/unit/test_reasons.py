"""The closed list of reasons: each is documented, and each is reached by a record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import (
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_batch,
    make_rules,
    make_value,
    now_at,
)
from tests.unit.core.delivery.dispatching import Stage, status
from worker.core.intake.intake import Intake
from worker.core.intake.rules import Form
from worker.core.model.fault import FieldFault, Reason

TRIES_MAX = 20
DOCUMENT = Path(__file__).parents[2] / "docs" / "reasons.md"


def intake(value: bytes | None, **rules: object) -> FieldFault:
    """The first fault that the intake finds."""
    _, (rejection,) = Intake(make_rules(**rules)).read(
        make_assignment(), [FakeRecord(0, value)], now_at()
    )
    return rejection.faults[0]


def answered(code: int) -> FieldFault:
    """The fault of a row that the API answers so, alone, while it takes others."""
    stage = Stage()
    batch = make_batch(1)
    stage.submit(batch)
    for number in range(1, TRIES_MAX):
        settlement = stage.answer(batch, status(code))
        if settlement.refused:
            return settlement.refused[0].fault
        other = make_batch(1, batch_id=f"other-{number}", start=number)
        assert other in stage.submit(other)
        stage.answer(other, status(200))
        stage.start_at(60.0 * number)
    raise AssertionError("it is never given up")


REACHED: dict[Reason, Callable[[], FieldFault]] = {
    Reason.EMPTY_VALUE: lambda: intake(None),
    Reason.NOT_JSON: lambda: intake(b"x"),
    Reason.NOT_AN_OBJECT: lambda: intake(b"[]"),
    Reason.MISSING: lambda: intake(make_value(event_name=...)),
    Reason.WRONG_TYPE: lambda: intake(make_value(mcc="home")),
    Reason.OUT_OF_RANGE: lambda: intake(make_value(mcc=2**64)),
    Reason.UNKNOWN_FIELD: lambda: intake(make_value(evnt_name="x")),
    Reason.BOTH_IDENTITIES: lambda: intake(make_value(appmetrica_device_id=1)),
    Reason.MILLISECONDS: lambda: intake(make_value(event_timestamp=UNIX_SECONDS * 1000)),
    Reason.TOO_OLD: lambda: intake(make_value(event_timestamp=0)),
    Reason.IN_FUTURE: lambda: intake(make_value(event_timestamp=UNIX_SECONDS * 2)),
    Reason.TOO_LARGE: lambda: intake(make_value(), row_bytes_max=10),
    Reason.UNKNOWN_APPLICATION: lambda: intake(make_value(application_id=2222)),
    Reason.UNKNOWN_ROUTE: lambda: intake(
        json.dumps({"type": "x", "data": {}}).encode(), form=Form.ENVELOPE
    ),
    Reason.REFUSED: lambda: answered(400),
    Reason.TOO_LARGE_FOR_API: lambda: answered(413),
    Reason.FAILS_ALONE: lambda: answered(500),
}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_reached(reason: Reason) -> None:
    fault = REACHED[reason]()
    assert fault.reason is reason
    assert fault.message


def test_every_reason_is_documented_once_and_no_other_one_is() -> None:
    codes = re.findall(r"^\| `([a-z_]+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert codes == [reason.value for reason in Reason]


def test_the_document_s_example_is_what_a_dead_letter_says() -> None:
    fault = intake(make_value(mcc="home"))
    text = DOCUMENT.read_text(encoding="utf-8")
    (example,) = json.loads(text[text.index("[{") : text.index("}]") + 2])
    documented = {"reason": fault.reason.value, "field": fault.field, "message": fault.message}
    assert example == documented | {"expected": fault.expected, "found": fault.found}
