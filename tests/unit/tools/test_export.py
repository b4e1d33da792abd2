"""Documents and tables of stored records, whatever the records hold."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import FakeRecord
from tests.searches import CHARACTERS
from tests.unit.tools.stored import DLQ
from worker.cli.output import console
from worker.cli.stored_records import described
from worker.core.model.fault import Reason
from worker.core.wire.record_headers import ERRORS_PREFIX, PARKED_PREFIX
from worker.tools.dead_letters.export import (
    EXPLANATIONS,
    explanation,
    jsonl,
    kcat,
    line,
    peeked,
)
from worker.tools.dead_letters.record import FOREIGN, PARKED, read
from worker.tools.dead_letters.scan import Statistics

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
    st.tuples(st.one_of(st.sampled_from(OUR_NAMES), st.text(CHARACTERS, max_size=5)), ANY_BYTES),
    max_size=8,
)


@given(
    ANY_BYTES,
    ANY_BYTES,
    HEADERS,
    st.one_of(st.sampled_from([-1, 0]), st.integers(-(2**63), 2**63 - 1)),
)
def test_a_record_with_any_content_can_be_shown(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], timestamp: int
) -> None:
    record = FakeRecord(3, value, key, headers, timestamp)
    stored = read(DLQ, record)
    statistics = Statistics()
    statistics.add(stored)
    for document in (jsonl(stored), kcat(stored), peeked(stored, record), statistics.document()):
        assert orjson.loads(line(document))
    console().print(described(stored, record))


def test_every_reason_is_explained() -> None:
    assert {reason.value for reason in Reason} | {PARKED, FOREIGN} <= EXPLANATIONS.keys()
    assert "not known" in explanation("made_up_later")
