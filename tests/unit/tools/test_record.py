"""What is read from a letter's headers, whoever wrote them."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import FakeRecord, make_value
from tests.unit.tools.letters import DLQ, make_letter, make_rejection, settings
from worker.cli.letters import described
from worker.cli.output import console
from worker.core.model.fault import Reason
from worker.core.model.record import Place
from worker.core.wire.record_headers import ERRORS_PREFIX, PARKED_PREFIX, REPLAYS
from worker.tools.dead_letters.export import jsonl, kcat, line, peeked
from worker.tools.dead_letters.record import LetterFault, application_of, read
from worker.tools.dead_letters.statistics import Statistics
from worker.tools.dead_letters.topics import named_applications


def test_a_dead_letter_tells_where_it_came_from_and_what_was_wrong() -> None:
    letter = make_letter(4, rejection=make_rejection(7, reason=Reason.TOO_OLD))
    assert letter.place == Place("offline-events.dlq", 0, 4)
    assert letter.origin == Place("offline-events", 3, 7)
    assert (letter.reason, letter.faults) == (
        "too_old",
        (LetterFault("too_old", "event_name", "required, a string"),),
    )
    assert (letter.application_id, letter.worker_version, letter.day) == (
        1111,
        "1.2.3",
        "2023-11-14",
    )


def test_a_parked_record_tells_where_it_came_from() -> None:
    headers = [
        (f"__appmetrica.parked.{name}", value)
        for name, value in (("topic", b"t"), ("partition", b"1"), ("offset", b"2"))
    ]
    letter = read(DLQ, FakeRecord(0, make_value(), headers=headers))
    assert (letter.reason, letter.origin) == ("parked", Place("t", 1, 2))


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
def test_headers_that_make_no_sense_are_no_error(headers: list[tuple[str, bytes | None]]) -> None:
    letter = read(DLQ, FakeRecord(0, b"", headers=headers))
    assert (letter.origin, letter.replays, letter.http_status, letter.shortened, letter.faults) == (
        None,
        0,
        None,
        None,
        (),
    )
    assert kcat(letter).get("headers", []) == [
        part
        for name, value in headers
        for part in (name, None if value is None else value.decode(errors="replace"))
    ]


def test_the_application_is_the_routes_where_it_says_one_for_all() -> None:
    routes = "[{topic: offline-events, constants: {application_id: 1111}}, {topic: games}]"
    constants = named_applications(settings(routes=routes))
    assert constants == {"offline-events": 1111, "offline-events.parked": 1111}
    letter = make_letter(rejection=make_rejection(value=b"{}"))
    assert letter.application_id is None
    assert read(DLQ, letter.record, constants).application_id == 1111


def test_the_application_is_read_where_the_route_says_that_it_is_found() -> None:
    said = named_applications(
        settings(routes="[{topic: offline-events, fields: {application_id: $.app.id}}]")
    )
    for value, application in (
        (b'{"app": {"id": "2222"}}', 2222),
        (b'{"data": {"app": {"id": 3}}}', 3),
        (b'{"app": 4}', None),
    ):
        assert (
            read(
                DLQ, make_letter(rejection=make_rejection(value=value)).record, said
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
def test_the_application_is_read_from_the_value_where_it_can_be(
    value: bytes | None, application: int | None
) -> None:
    assert application_of(value) == application


ANY_BYTES = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.sampled_from(
        [
            b'{"application_id": "\xff"}',
            b'{"application_id": 123456789012345678901234567890}',
            b'[{"reason": "\xff", "field": "", "message": ""}]',
            b'[{"reason": "a", "field": "[/b]", "message": "\\u001b[2J"}]',
            b'{"bytes": 1, "sha256": "\xff"}',
            b'"\\ud800"',
            b"\xed\xa0\x80",
            b"9" * 5000,
            b"[[" * 5000,
        ]
    ),
)
OUR_NAMES = [
    ERRORS_PREFIX + name
    for name in "reason detail topic partition offset http_status replays shortened".split()
]
OUR_NAMES += [f"{PARKED_PREFIX}{name}" for name in ("topic", "partition", "offset", "timestamp")]
HEADERS = st.lists(
    st.tuples(st.one_of(st.sampled_from(OUR_NAMES), st.text(max_size=5)), ANY_BYTES), max_size=8
)


@given(
    ANY_BYTES,
    ANY_BYTES,
    HEADERS,
    st.one_of(st.sampled_from([-1, 0]), st.integers(-(2**63), 2**63 - 1)),
)
def test_whatever_stands_in_a_record_it_is_a_letter_that_can_be_shown(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], timestamp: int
) -> None:
    record = FakeRecord(3, value, key, headers, timestamp)
    letter = read(DLQ, record)
    statistics = Statistics()
    statistics.add(letter)
    for document in (jsonl(letter), kcat(letter), peeked(letter, record), statistics.document()):
        assert orjson.loads(line(document))
    console().print(described(letter, record))
