"""Ranges in the commit's metadata: what was written is read back, and nothing else is believed."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from random import Random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_assignment
from tests.searches import CHARACTERS
from worker.core.model.record import Position, Start
from worker.core.wire import commit_metadata
from worker.core.wire.commit_metadata import (
    FLAGS_PREFIX,
    METADATA_CHARACTERS_MAX,
    RUNS_PREFIX,
    CommitMetadata,
    decode,
    encode,
    span_named,
)

POSITIONS = st.integers(0, 2**62)


def hints_of(position: int, metadata: str) -> CommitMetadata:
    found = decode(position, metadata)
    assert found is not None
    return found


@st.composite
def hinted(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    position = draw(POSITIONS)
    runs = draw(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), max_size=60))
    ranges, cursor = [], position - draw(st.sampled_from((0, runs[0][0] if runs else 0)))
    for open_run, settled_run in runs:
        ranges.append((cursor + open_run, cursor + open_run + settled_run))
        cursor += open_run + settled_run
    return position, ranges


@given(hinted())
def test_what_was_written_comes_back(case: tuple[int, list[tuple[int, int]]]) -> None:
    position, ranges = case
    floor = position // 2
    assert decode(position, encode(position, floor, ranges)) == CommitMetadata(floor, tuple(ranges))


def scattered(position: int, length: int) -> list[tuple[int, int]]:
    return [(offset, offset + 1) for offset in range(position + 1, position + length, 2)]


@pytest.mark.parametrize("characters_max", [METADATA_CHARACTERS_MAX, 512, 100])
@pytest.mark.parametrize("position", [1, 2**62])
def test_every_offset_that_is_near_enough_can_be_named(characters_max: int, position: int) -> None:
    ranges = scattered(position, span_named(characters_max))
    metadata = encode(position, 0, ranges, characters_max)
    assert len(metadata) <= characters_max
    assert decode(position, metadata) == CommitMetadata(0, tuple(ranges))


def test_what_is_further_away_is_left_out_from_the_end() -> None:
    ranges = scattered(1, 40_000)
    metadata = encode(1, 1, ranges)
    assert METADATA_CHARACTERS_MAX - 8 < len(metadata) <= METADATA_CHARACTERS_MAX
    kept = decode(1, metadata)
    assert kept is not None
    assert span_named() // 2 < len(kept.settled) < len(ranges)
    assert list(kept.settled) == ranges[: len(kept.settled)]


def test_of_long_runs_that_find_no_room_more_is_named_than_by_single_flags() -> None:
    ranges = [(offset, offset + 500) for offset in range(2, 4_000_000, 1000)]
    kept = decode(1, encode(1, 1, ranges))
    assert kept is not None
    assert list(kept.settled) == ranges[: len(kept.settled)]
    assert kept.settled[-1][1] > 10 * span_named()


def test_a_range_that_finds_room_in_part_is_named_in_part() -> None:
    ranges = [*scattered(1, span_named() - 100), (span_named(), 10 * span_named())]
    kept = decode(1, encode(1, 1, ranges))
    assert kept is not None
    assert list(kept.settled[:-1]) == ranges[:-1]
    assert kept.settled[-1][0] == ranges[-1][0]
    assert span_named() < kept.settled[-1][1] < ranges[-1][1]


@pytest.mark.parametrize("characters_max", range(12))
def test_without_room_for_anything_nothing_is_written(characters_max: int) -> None:
    metadata = encode(10, 5, [(12, 14)], characters_max)
    assert len(metadata) <= characters_max
    assert decode(10, metadata) in (None, CommitMetadata(5), CommitMetadata(5, ((12, 14),)))


@given(st.integers(0, 2**32), POSITIONS, st.integers(20, 200), st.integers(1, 4000))
def test_what_is_named_is_always_a_part_of_what_is_settled(
    seed: int, position: int, characters_max: int, length: int
) -> None:
    chance = Random(seed)
    settled = sorted(chance.sample(range(position, position + length), chance.randint(1, length)))
    ranges: list[tuple[int, int]] = []
    for offset in settled:
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + 1)
        else:
            ranges.append((offset, offset + 1))
    metadata = encode(position, position, ranges, characters_max)
    assert len(metadata) <= characters_max
    kept = decode(position, metadata)
    assert kept is not None
    named = [offset for start, end in kept.settled for offset in range(start, end)]
    assert named == settled[: len(named)]
    assert len(named) == len(settled) or span_named(characters_max) < length


@pytest.mark.parametrize("characters_max", [METADATA_CHARACTERS_MAX, 40], ids=["runs", "flags"])
@given(hinted().filter(lambda case: bool(case[1])), st.integers(0, 10_000), st.integers(1, 255))
def test_one_wrong_byte_is_noticed(
    characters_max: int, case: tuple[int, list[tuple[int, int]]], place: int, change: int
) -> None:
    position, ranges = case
    metadata = encode(position, position, ranges, characters_max)
    ranges = list(hints_of(position, metadata).settled)
    index = place % len(metadata)
    damaged = metadata[:index] + chr(ord(metadata[index]) ^ change) + metadata[index + 1 :]
    # The unused bits of the last character mean nothing: then the hints are the same.
    assert decode(position, damaged) in (None, CommitMetadata(position, tuple(ranges)))


@given(hinted().filter(lambda case: bool(case[1])), st.integers(1, 1000))
def test_hints_beside_another_position_are_not_believed(
    case: tuple[int, list[tuple[int, int]]], distance: int
) -> None:
    position, ranges = case
    assert decode(position + distance, encode(position, position, ranges)) is None


@given(POSITIONS, st.text(CHARACTERS, max_size=200))
def test_foreign_metadata_is_not_believed(position: int, metadata: str) -> None:
    assert decode(position, metadata) is None


FOREIGN = {
    "nothing": "",
    "a version to come": "3:AAAA",
    "no base64": "1:$$$$",
    "a length base64 can't have": "1:AAAAA",
    "not ASCII": "1:йй",
    "too short for a checksum": "1:AA",
    "another program's": "host-1.example",
    "longer than any of ours": RUNS_PREFIX + "A" * 5000,
}


@pytest.mark.parametrize("metadata", FOREIGN.values(), ids=FOREIGN)
def test_what_cannot_be_used_is_none(metadata: str) -> None:
    assert decode(0, metadata) is None


def sealed(payload: bytes, position: int = 0) -> str:
    """Metadata with a right checksum, whatever it holds."""
    checksum = crc32(payload, crc32(b"%d:" % position)).to_bytes(4, "big")
    return RUNS_PREFIX + urlsafe_b64encode(payload + checksum).decode().rstrip("=")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00\x01",
        b"\x00\x01\x01\x00\x01",
        b"\x00\x01\x00",
        b"\x00\x01\x81",
        b"\x00" + b"\xff" * 12 + b"\x01\x01",
        b"\x01",
    ],
    ids=[
        "nothing",
        "half a pair of runs",
        "an empty open run behind a settled one",
        "an empty settled run",
        "an unfinished number",
        "an endless number",
        "a floor below the first offset",
    ],
)
def test_a_right_checksum_over_nonsense_is_not_believed_either(payload: bytes) -> None:
    assert decode(0, sealed(b"\x00\x01\x01")) == CommitMetadata(0, ((1, 2),))
    assert decode(0, sealed(payload)) is None


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff\xff", b"\x01\x03"],
    ids=["nothing", "no end of the floor", "a floor below 0"],
)
def test_nonsense_before_flags_is_not_believed_either(payload: bytes) -> None:
    def flagged(about: bytes) -> str:
        checksum = crc32(about, crc32(b"2:0:")).to_bytes(4, "big")
        return FLAGS_PREFIX + urlsafe_b64encode(about + checksum).decode().rstrip("=")

    assert decode(0, flagged(b"\x00\x06\x01")) == CommitMetadata(0, ((1, 3), (8, 9)))
    assert decode(0, flagged(payload)) is None


def test_what_a_commit_vouches_for_is_what_lies_above_its_floor_and_in_its_ranges() -> None:
    expected = CommitMetadata(10, ((25, 27), (30, 31)))
    assert [offset for offset in range(40) if expected.covers(offset, 20)] == [
        *range(10, 20),
        25,
        26,
        30,
    ]


ABOVE = encode(20, 5, [(25, 27)])


@pytest.mark.parametrize(
    ("committed", "end", "expected"),
    [
        (None, 100, CommitMetadata(20)),
        (Position(20), 100, CommitMetadata(20)),
        (Position(19, encode(19, 5, [])), 100, CommitMetadata(20)),
        (Position(20, ABOVE), 100, CommitMetadata(5, ((25, 27),))),
        (Position(20, ABOVE), 27, CommitMetadata(5, ((25, 27),))),
        (Position(20, ABOVE), 26, None),
        (Position(20, "somebody else's"), 100, None),
    ],
    ids=[
        "no commit: nobody has seen what lies before",
        "a position set by hand",
        "reading begins elsewhere",
        "hints",
        "hints up to the end",
        "the partition was cut off below them",
        "foreign metadata",
    ],
)
def test_what_is_known_at_a_start(
    committed: Position | None, end: int, expected: CommitMetadata | None
) -> None:
    assert commit_metadata.of(Start(make_assignment(), 20, committed, end)) == expected
