"""Dead letters and parked records as they are read from their headers and values."""

from __future__ import annotations

import pytest

from tests.builders import FakeRecord, make_value
from tests.unit.tools.stored import DLQ, make_rejection, make_stored, settings
from worker.core.model.fault import Reason
from worker.core.model.record import Place
from worker.core.wire.record_headers import REPLAYS
from worker.tools.dead_letters.export import kcat
from worker.tools.dead_letters.record import RecordFault, application_of, read
from worker.tools.dead_letters.scan import named_applications


def test_a_dead_letter_names_its_origin_and_its_faults() -> None:
    stored = make_stored(4, rejection=make_rejection(7, reason=Reason.TOO_OLD))
    assert stored.place == Place("offline-events.dlq", 0, 4)
    assert stored.origin == Place("offline-events", 3, 7)
    assert (stored.reason, stored.faults) == (
        "too_old",
        (RecordFault("too_old", "event_name", "required, a string"),),
    )
    assert (stored.application_id, stored.worker_version, stored.day) == (
        1111,
        "1.2.3",
        "2023-11-14",
    )


def test_a_parked_record_names_its_origin() -> None:
    headers = [
        (f"__appmetrica.parked.{name}", value)
        for name, value in (("topic", b"t"), ("partition", b"1"), ("offset", b"2"))
    ]
    stored = read(DLQ, FakeRecord(0, make_value(), headers=headers))
    assert (stored.reason, stored.origin) == ("parked", Place("t", 1, 2))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [
            ("__appmetrica.errors.reason", b"\xff"),
            ("__appmetrica.errors.detail", b"\xff{"),
            (REPLAYS, b"many"),
        ],
        [
            ("__appmetrica.errors.topic", b"t"),
            ("__appmetrica.errors.partition", b"-1"),
            ("__appmetrica.errors.offset", b"9" * 30),
        ],
        [
            ("__appmetrica.errors.http_status", "²".encode()),
            ("__appmetrica.errors.shortened", b"[]"),
        ],
        [
            (f"__appmetrica.errors.{name}", None)
            for name in ("reason", "detail", "topic", "http_status", "shortened")
        ],
    ],
    ids=["none", "not text", "no numbers", "digits that are none", "null"],
)
def test_invalid_headers_are_no_error(headers: list[tuple[str, bytes | None]]) -> None:
    stored = read(DLQ, FakeRecord(0, b"", headers=headers))
    assert (stored.origin, stored.replays, stored.http_status, stored.shortened, stored.faults) == (
        None,
        0,
        None,
        None,
        (),
    )
    assert kcat(stored).get("headers", []) == [
        part
        for name, value in headers
        for part in (name, None if value is None else value.decode(errors="replace"))
    ]


def test_the_application_is_the_constant_of_the_route() -> None:
    routes = "[{topic: offline-events, constants: {application_id: 1111}}, {topic: games}]"
    constants = named_applications(settings(routes=routes))
    assert constants == {"offline-events": 1111, "offline-events.parked": 1111}
    stored = make_stored(rejection=make_rejection(value=b"{}"))
    assert stored.application_id is None
    assert read(DLQ, stored.record, constants).application_id == 1111


def test_the_application_is_read_from_the_field_that_the_route_names() -> None:
    named = named_applications(
        settings(routes="[{topic: offline-events, fields: {application_id: $.app.id}}]")
    )
    for value, application in (
        (b'{"app": {"id": "2222"}}', 2222),
        (b'{"data": {"app": {"id": 3}}}', 3),
        (b'{"app": 4}', None),
    ):
        assert (
            read(
                DLQ, make_stored(rejection=make_rejection(value=value)).record, named
            ).application_id
            == application
        )


@pytest.mark.parametrize(
    ("value", "application"),
    [
        (make_value(), 1111),
        (make_value(application_id="2222"), 2222),
        (b'{"type": "revenue", "data": {"application_id": 3}}', 3),
        (b'{"application_id": "x"}', None),
        (b"[1]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (b'{"application_id": "\xff"}', None),
        (b'{"application_id": "00001111"}', 1111),
        (b'{"application_id": "%s"}' % (b"9" * 5000), None),
        (b'{"application_id": %d}' % 2**63, None),
        (b'{"application_id": -1}', None),
        (b'{"application_id": " 1_1 "}', None),
        (None, None),
    ],
)
def test_the_application_is_read_from_the_value(
    value: bytes | None, application: int | None
) -> None:
    assert application_of(value) == application
