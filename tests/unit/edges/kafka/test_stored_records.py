"""The headers of dead letters and of parked records."""

from __future__ import annotations

from tests.builders import FakeRecord, make_assignment, make_row
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.wire.record_headers import ERRORS_PREFIX, PARKED_PREFIX
from worker.edges.kafka.stored_records import dead_letter_headers, parking_headers


def test_headers_of_an_earlier_rejection_give_way_and_replays_are_kept() -> None:
    record = FakeRecord(
        0,
        b"v",
        headers=(
            (f"{ERRORS_PREFIX}reason", b"too_old"),
            (f"{ERRORS_PREFIX}replays", b"2"),
            ("own", b"x"),
        ),
    )
    rejection = Rejection(
        make_assignment(), record, (FieldFault(Reason.REFUSED, "", "no"),), 1, http_status=400
    )
    found = dead_letter_headers(rejection, "1")
    assert len({name for name, _ in found}) == len(found)
    assert dict(found)[f"{ERRORS_PREFIX}reason"] == b"refused"
    assert dict(found)[f"{ERRORS_PREFIX}replays"] == b"2"
    assert dict(found)[f"{ERRORS_PREFIX}http_status"] == b"400"


def test_a_dead_letter_of_a_parked_record_names_its_first_place() -> None:
    row = make_row(5, assignment=make_assignment(2, topic="source"), record=FakeRecord(5))
    parked = FakeRecord(77, b"v", headers=parking_headers(row))
    fault = FieldFault(Reason.REFUSED, "", "no")
    rejection = Rejection(make_assignment(0, topic="source.parked"), parked, (fault,), 1)
    found = dict(dead_letter_headers(rejection, "1"))
    named = [found[f"{ERRORS_PREFIX}{name}"] for name in ("topic", "partition", "offset")]
    assert named == [b"source", b"2", b"5"]


def test_headers_of_an_earlier_parking_give_way_and_the_first_place_is_kept() -> None:
    first = make_row(5, assignment=make_assignment(2, topic="source"), record=FakeRecord(5))
    again = make_row(
        9,
        assignment=make_assignment(0, topic="source.parked"),
        record=FakeRecord(9, headers=[("own", b"x"), *parking_headers(first)]),
    )
    found = parking_headers(again)
    assert len({name for name, _ in found}) == len(found)
    assert dict(found)[f"{PARKED_PREFIX}topic"] == b"source"
    assert dict(found)[f"{PARKED_PREFIX}offset"] == b"5"
    assert dict(found)["own"] == b"x"
