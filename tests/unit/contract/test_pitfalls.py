"""What docs/events.md says of each language: the pitfall is refused, the remedy accepted."""

from __future__ import annotations

import json
import math

import pytest

from tests.builders import make_value
from tests.unit.core.intake.reading import faults_of, row_of
from worker.core.model.fault import Reason

SIGNED, UNSIGNED = -1, 2**64 - 1


@pytest.mark.parametrize(
    ("pitfall", "remedy", "reason"),
    [
        (
            make_value(profile_id=..., appmetrica_device_id=SIGNED),
            make_value(profile_id=..., appmetrica_device_id=str(UNSIGNED)),
            Reason.OUT_OF_RANGE,
        ),
        (
            json.dumps(json.loads(make_value()) | {"event_json": {"a": math.nan}}).encode(),
            json.dumps(json.loads(make_value()) | {"event_json": {"a": None}}).encode(),
            Reason.NOT_JSON,
        ),
        (make_value(post_api_key="secret"), make_value(), Reason.UNKNOWN_FIELD),
        (
            make_value(application_id=0),
            make_value(mcc=None, os_name=""),
            Reason.OUT_OF_RANGE,
        ),
    ],
    ids=["a signed id", "NaN", "the key of the API", "zero is not absent"],
)
def test_a_pitfall_is_refused_and_its_remedy_accepted(
    pitfall: bytes, remedy: bytes, reason: Reason
) -> None:
    assert faults_of(pitfall)[0].reason is reason
    row_of(remedy)
