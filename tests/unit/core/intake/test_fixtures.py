"""The records in tests/fixtures become the requests beside them, and the emulator takes these."""

from __future__ import annotations

import pytest

from tests.builders import FakeRecord, make_assignment, make_rules, now_at
from tests.fixtures import UNIX_SECONDS, Fixture, fixtures
from worker.core.batching.batcher import Batcher, BatchLimits, header, no_header
from worker.core.intake.intake import Intake
from worker.core.model.batch import RequestForm
from worker.core.post_api.resource import RESOURCES
from worker.sandbox.emulator.contract import CONTRACTS
from worker.sandbox.emulator.reader import (
    AcceptanceBounds,
    Rows,
    read_body,
    read_parameters,
    read_query,
)

APPLICATIONS = frozenset({1111, 1234567890})
ALL = fixtures()
IDS = [f"{one.resource}-{one.name}" for one in ALL]


def request_of(fixture: Fixture) -> bytes:
    rules = make_rules(
        resource=RESOURCES[fixture.resource],
        applications=APPLICATIONS,
        request=RequestForm.PARAMS if fixture.is_query else RequestForm.BODY,
    )
    records = [FakeRecord(offset, value) for offset, value in enumerate(fixture.values)]
    rows, rejections = Intake(rules).read(
        make_assignment(), records, now_at(unix_start=UNIX_SECONDS)
    )
    assert not rejections, rejections[0].faults
    batcher = Batcher(BatchLimits(100, 10**6, 1.0), "b", no_header if fixture.is_query else header)
    batcher.add(rows, 0.0)
    (sealed,) = batcher.due(5.0)
    return sealed.batch.body()


@pytest.mark.parametrize("fixture", ALL, ids=IDS)
def test_a_record_becomes_the_request_that_was_written_by_hand(fixture: Fixture) -> None:
    assert request_of(fixture).decode() == fixture.request.decode()


@pytest.mark.parametrize("fixture", ALL, ids=IDS)
def test_the_emulator_takes_that_request(fixture: Fixture) -> None:
    bounds = AcceptanceBounds(APPLICATIONS, UNIX_SECONDS - 100, UNIX_SECONDS, {})
    contract = CONTRACTS[fixture.resource]
    if fixture.is_query:
        parameters = read_query(fixture.request.decode())
        assert isinstance(parameters, list), parameters
        result = read_parameters(contract, parameters, bounds)
    else:
        result = read_body(contract, fixture.request, bounds)
    assert isinstance(result, Rows), result
    assert len(result.cells) == len(fixture.values)


def test_every_resource_has_a_full_and_a_minimal_row() -> None:
    assert {(one.resource, one.name) for one in ALL} >= {
        (name, case) for name in RESOURCES for case in ("full", "minimal")
    }


@pytest.mark.parametrize("name", RESOURCES)
def test_a_full_row_fills_every_column(name: str) -> None:
    (full,) = [one for one in ALL if (one.resource, one.name) == (name, "full")]
    assert b",," not in full.request
    assert not full.request.endswith(b",\n")


@pytest.mark.parametrize("name", RESOURCES)
def test_the_emulator_knows_the_same_columns_and_requirements_from_its_own_table(name: str) -> None:
    resource, contract = RESOURCES[name], CONTRACTS[name]
    assert contract.columns == {column.name for column in resource.columns} | {
        "profile_id",
        "appmetrica_device_id",
    }
    assert contract.required == tuple(column.name for column in resource.columns if column.required)
