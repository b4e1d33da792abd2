"""A short fuzzing run, and values that it must notice."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from verification.fuzz.checking import (
    DisagreementError,
    Variant,
    check,
    route_for,
    variant_of,
    variants,
)
from verification.fuzz.mutations import Mutator
from worker.core.model.fault import FieldFault
from worker.core.model.row import Row

COUNT = 6000


def test_everything_holds_for_thousands_of_values() -> None:
    mutator, chance, routes = Mutator(7), random.Random(7), variants()
    ends: Counter[str] = Counter()
    for _ in range(COUNT):
        kind, value, headers = mutator.draw()
        end = check(route_for(kind, chance, routes), value, headers)
        ends.update(["row"] if isinstance(end, Row) else {fault.reason.value for fault in end})
    # The run is meaningful only if values are accepted, and refused for nearly every reason.
    assert ends["row"] > COUNT / 10
    assert len(ends) >= 12, ends


@pytest.mark.parametrize("variant", variants(), ids=lambda variant: variant.name)
def test_every_route_takes_some_of_them(variant: Variant) -> None:
    mutator = Mutator(3)
    drawn = (mutator.draw() for _ in range(3000))
    assert any(isinstance(check(variant, value, headers), Row) for _, value, headers in drawn)


def test_the_same_seed_draws_the_same_values() -> None:
    first, second, other = Mutator(1), Mutator(1), Mutator(2)
    drawn = [first.draw() for _ in range(50)]
    assert drawn == [second.draw() for _ in range(50)]
    assert drawn != [other.draw() for _ in range(50)]


def test_a_row_that_the_emulator_refuses_is_noticed() -> None:
    variant = next(one for one in variants() if one.name == "mapped, reject")
    constants = {**variant.rules.constants, "session_type": "x"}
    broken = variant_of("broken", replace(variant.rules, constants=constants))
    value = b'{"application_id":1111,"name":"n","event_timestamp":1700000000,"user":{"id":"u"}}'
    with pytest.raises(DisagreementError):
        check(broken, value)


def test_faults_are_reported_for_what_is_no_row() -> None:
    end = check(variants()[0], b"{}")
    assert isinstance(end, tuple)
    assert {type(fault) for fault in end} == {FieldFault}
