"""Faults of the identity of an event: a wrong, a second or a missing identity."""

from __future__ import annotations

import pytest

from tests.builders import (
    make_value,
)
from tests.unit.core.intake.reading import codes_of, faults_of
from worker.core.model.fault import Reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (str(2**64), Reason.OUT_OF_RANGE),
        (f'"{2**64}"', Reason.OUT_OF_RANGE),
        ('"' + "1" * 5000 + '"', Reason.OUT_OF_RANGE),
        ("1" * 5000, Reason.OUT_OF_RANGE),
        ("0", Reason.OUT_OF_RANGE),
        ('"0"', Reason.OUT_OF_RANGE),
        ("0.0", Reason.OUT_OF_RANGE),
        ("-1", Reason.OUT_OF_RANGE),
        ('"-1"', Reason.WRONG_TYPE),
        ('"+1"', Reason.WRONG_TYPE),
        ('" 1"', Reason.WRONG_TYPE),
        ('"1_0"', Reason.WRONG_TYPE),
        ('"0x1f"', Reason.WRONG_TYPE),
        ('"١"', Reason.WRONG_TYPE),
        ('"²"', Reason.WRONG_TYPE),
        ("1.5", Reason.WRONG_TYPE),
        ("1.8446744073709552e19", Reason.OUT_OF_RANGE),
        ("9007199254740994.0", Reason.OUT_OF_RANGE),
        ('"1.0"', Reason.WRONG_TYPE),
        ('"1e3"', Reason.WRONG_TYPE),
        ("1e999", Reason.WRONG_TYPE),
        ("true", Reason.WRONG_TYPE),
        ("[1]", Reason.WRONG_TYPE),
        ('{"id":1}', Reason.WRONG_TYPE),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_a_device_id_that_is_no_unsigned_64_bit_integer_is_refused(
    text: str, reason: Reason
) -> None:
    value = make_value(profile_id=..., appmetrica_device_id=7).replace(
        b": 7", b": " + text.encode()
    )
    assert codes_of(value) == [(reason, "appmetrica_device_id")]


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (-8446744073709551615, "unsigned is 10000000000000000001. Java: Long.toUnsignedString"),
        ("-1", "unsigned is 18446744073709551615. Java: Long.toUnsignedString"),
        ("0x1F", "in decimal digits it is 31. Java: Long.toUnsignedString(Long.parseUnsignedLong"),
        ("deadbeefdeadbeef", "in decimal digits it is 16045690984833335023."),
        ("123e4567-e89b-12d3-a456-426614174000", "appmetrica_device_id_hash"),
        ("123E4567E89B12D3A456426614174000", "appmetrica_device_id_hash"),
        (0, "0 is not the id of a device"),
        ("00", "0 is not the id of a device"),
        (1.8446744073709552e19, "has lost digits of the id; send the digits as a string"),
    ],
    ids=str,
)
def test_the_fault_of_a_device_id_says_what_the_producer_has_to_call(
    value: object, advice: str
) -> None:
    (fault,) = faults_of(make_value(profile_id=..., appmetrica_device_id=value))
    assert advice in fault.message


def test_both_identities_are_one_fault_that_names_both() -> None:
    fault = faults_of(make_value(appmetrica_device_id=1))[0]
    assert (fault.reason, fault.field) == (
        Reason.BOTH_IDENTITIES,
        "profile_id and appmetrica_device_id",
    )
    assert "exactly one" in fault.message


def test_a_wrong_identity_is_not_called_missing_as_well() -> None:
    value = make_value(profile_id=..., appmetrica_device_id="x")
    assert codes_of(value) == [(Reason.WRONG_TYPE, "appmetrica_device_id")]
