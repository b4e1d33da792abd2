"""The API's tables are whole: validator, emulator, schemas and documents are made from them."""

from __future__ import annotations

import json

import pytest

from tests.builders import UNIX_SECONDS, FakeRecord, make_assignment, make_rules, now_at
from worker.core.intake.intake import Intake
from worker.core.post_api.column import INTEGER_MAX, INTEGER_MIN, Column, Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, RESOURCES, Identity, Resource

ALL = [
    (resource, column)
    for resource in RESOURCES.values()
    for column in (*IDENTITY_COLUMNS.values(), *resource.columns)
]
IDS = [f"{resource.name}-{column.name}" for resource, column in ALL]


def event_of_examples(resource: Resource, identity: Identity) -> bytes:
    members = [
        f"{json.dumps(column.name)}:{column.example}"
        for column in (IDENTITY_COLUMNS[identity], *resource.columns)
    ]
    return f"{{{','.join(members)}}}".encode()


@pytest.mark.parametrize(("resource", "column"), ALL, ids=IDS)
def test_every_column_is_described_with_an_example(resource: Resource, column: Column) -> None:
    assert column.description
    assert not column.description.endswith(".")
    value = json.loads(column.example)
    if column.known:
        assert value in column.known
    if column.default is not None:
        assert not column.required
    bounded = (Kind.INTEGER, Kind.DEVICE_ID, Kind.TIMESTAMP)
    assert (column.minimum, column.maximum) == (INTEGER_MIN, INTEGER_MAX) or column.kind in bounded


@pytest.mark.parametrize("identity", Identity)
@pytest.mark.parametrize("name", RESOURCES)
def test_the_examples_of_all_columns_make_a_valid_event(name: str, identity: Identity) -> None:
    resource = RESOURCES[name]
    value = event_of_examples(resource, identity)
    rows, rejections = Intake(make_rules(resource=resource)).read(
        make_assignment(), [FakeRecord(0, value)], now_at(unix_start=UNIX_SECONDS)
    )
    assert not rejections, rejections[0].faults
    assert b",," not in rows[0].line


@pytest.mark.parametrize("name", RESOURCES)
def test_no_column_is_repeated_and_the_application_is_first(name: str) -> None:
    for identity in Identity:
        header = RESOURCES[name].header(identity)
        assert len(header) == len(set(header))
        assert header[:2] == ("application_id", identity.value)


@pytest.mark.parametrize("name", RESOURCES)
def test_what_names_an_event_is_a_required_text(name: str) -> None:
    resource = RESOURCES[name]
    found = [column for column in resource.columns if column.name == resource.name_column]
    assert [(column.kind, column.required) for column in found] == (
        [] if name == "profiles" else [(Kind.STRING, True)]
    )


def test_only_profiles_have_no_time() -> None:
    assert [name for name, resource in RESOURCES.items() if not resource.is_dated] == ["profiles"]
