"""Round trips: row → JSON → worker → request → standard reader gives the same cells."""

from __future__ import annotations

import itertools
import json
from functools import cache
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.builders import (
    APPLICATION_ID,
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_rules,
    make_value,
    now_at,
    parse_csv,
)
from tests.searches import examples
from tests.unit.core.intake.rows_of_resources import Sent, events_of
from worker.core.batching.batcher import header
from worker.core.intake.intake import Intake
from worker.core.intake.rules import ColumnChoice
from worker.core.model.batch import RequestForm
from worker.core.model.row import Row
from worker.core.post_api.resource import RESOURCES
from worker.sandbox.emulator.contract import CONTRACTS
from worker.sandbox.emulator.reader import AcceptanceBounds, Rows, read_body


@cache
def intake_of(resource: str, columns: ColumnChoice, request: RequestForm) -> Intake:
    return Intake(make_rules(resource=RESOURCES[resource], columns=columns, request=request))


def row_of(
    sent: Sent,
    resource: str,
    columns: ColumnChoice = ColumnChoice.ALL,
    request: RequestForm = RequestForm.BODY,
) -> Row:
    intake = intake_of(resource, columns, request)
    rows, rejections = intake.read(make_assignment(), [FakeRecord(0, sent.json_text)], now_at())
    assert not rejections, (sent, rejections[0].faults)
    assert rows[0].destination.identity is sent.identity
    return rows[0]


@pytest.mark.parametrize("resource", RESOURCES)
@examples(60, suppress=[HealthCheck.data_too_large])
@given(data=st.data())
def test_every_cell_comes_back_from_each_form_of_a_request(
    resource: str, data: st.DataObject
) -> None:
    sent = data.draw(events_of(RESOURCES[resource]))
    _comes_back_from_all_columns(sent, resource)
    _comes_back_from_exactly_the_filled_columns(sent, resource)
    _comes_back_from_a_query_string(sent, resource)


def _comes_back_from_all_columns(sent: Sent, resource: str) -> None:
    row = row_of(sent, resource)
    names, cells = parse_csv(header(row.destination) + row.line)
    assert tuple(names) == RESOURCES[resource].header(sent.identity)
    assert {name: cell for name, cell in zip(names, cells, strict=True) if cell} == sent.cells
    bounds = AcceptanceBounds({APPLICATION_ID}, UNIX_SECONDS - 1_209_600, UNIX_SECONDS + 86_400, {})
    taken = read_body(CONTRACTS[resource], header(row.destination) + row.line, bounds)
    assert isinstance(taken, Rows), taken


def _comes_back_from_exactly_the_filled_columns(sent: Sent, resource: str) -> None:
    row = row_of(sent, resource, columns=ColumnChoice.EXACT)
    names, cells = parse_csv(header(row.destination) + row.line)
    assert dict(zip(names, cells, strict=True)) == sent.cells
    assert names == [
        name for name in RESOURCES[resource].header(sent.identity) if name in sent.cells
    ]


def _comes_back_from_a_query_string(sent: Sent, resource: str) -> None:
    row = row_of(sent, resource, request=RequestForm.PARAMS)
    assert row.line.isascii()
    assert not set(b"+ ") & set(row.line)
    assert dict(parse_qsl(row.line.decode(), strict_parsing=True, errors="strict")) == sent.cells


def test_every_character_of_unicode_comes_back() -> None:
    points = (point for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF)
    texts = [
        "".join(map(chr, chunk)) for chunk in iter(lambda: list(itertools.islice(points, 4096)), [])
    ]
    assert sum(map(len, texts)) == 0x110000 - 0x800
    for is_ascii in (False, True):
        values = [
            json.dumps({**json.loads(make_value()), "event_name": text}, ensure_ascii=is_ascii)
            for text in texts
        ]
        records = [FakeRecord(offset, value.encode()) for offset, value in enumerate(values)]
        rows, rejections = Intake(make_rules()).read(make_assignment(), records, now_at())
        assert not rejections
        lines = parse_csv(b"".join(row.line for row in rows))
        assert [cells[2] for cells in lines] == texts
