"""Records from files of each format, and from what `export` writes."""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import pytest

from tests.builders import FakeRecord, make_value
from tests.unit.tools.stored import DLQ, write
from worker.sandbox.emulator.contract import CONTRACTS
from worker.sandbox.emulator.reader import AcceptanceBounds, RefusedRequest, read_body
from worker.tools import file_formats
from worker.tools.dead_letters import export
from worker.tools.dead_letters.record import read as read_stored
from worker.tools.file_formats import FileFormat, FileFormatError, FileRecord, Unreadable, read


def records_of(
    directory: Path, content: bytes, file_format: FileFormat
) -> list[FileRecord | Unreadable]:
    with write(directory, "file", content) as file:
        return [record for chunk in read(file, file_format) for record in chunk]


def test_a_line_is_a_value_and_keeps_its_number(tmp_path: Path) -> None:
    found = records_of(tmp_path, b'{"a":1}\r\n\nnonsense\n\xff', FileFormat.JSONL)
    assert [(one.offset, one.value) for one in found if isinstance(one, FileRecord)] == [
        (1, b'{"a":1}'),
        (3, b"nonsense"),
        (4, b"\xff"),
    ]


@pytest.mark.parametrize(
    "value", [b'{"a":"\xd1\x84"}', b"\xff\x00", b"", None], ids=["text", "bytes", "empty", "null"]
)
def test_what_is_exported_as_kcat_is_read_back_byte_for_byte(
    value: bytes | None, tmp_path: Path
) -> None:
    record = FakeRecord(9, value, b"key", [("trace", b"1"), ("trace", "ф".encode())])
    line = export.line(export.kcat(read_stored(DLQ, record)))
    (found,) = records_of(tmp_path, line, FileFormat.KCAT)
    assert isinstance(found, FileRecord)
    assert (found.value, found.key, found.headers, found.topic) == (
        value,
        b"key",
        list(record.headers),
        DLQ.topic,
    )
    assert found.timestamp == record.timestamp


def test_what_kcat_itself_prints_is_read(tmp_path: Path) -> None:
    place = b'"topic":"t","partition":0,"offset":1,"tstype":"create","ts":5,"broker":1'
    line = b"{" + place + b',"headers":["k",null],"key":null,"payload":"{}"}\n'
    (found,) = records_of(tmp_path, line, FileFormat.KCAT)
    assert found == FileRecord(1, b"{}", 5, None, [("k", b"")], "t")


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'{"payload": 1}',
        b'{"payload_base64": "?"}',
        '{"payload_base64": "é"}'.encode(),
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_no_record_is_named_and_the_next_is_read(
    line: bytes, tmp_path: Path
) -> None:
    bad, good = records_of(tmp_path, line + b'\n{"payload": "{}"}\n', FileFormat.KCAT)
    assert isinstance(bad, Unreadable) and bad.line == 1
    assert isinstance(good, FileRecord) and good.value == b"{}"


@pytest.mark.parametrize("bad", ['{"a": NaN}', "-Infinity", r'{"a": "\ud800"}', "9" * 5000])
def test_an_element_that_only_python_reads_is_a_record_and_its_neighbours_too(
    bad: str, tmp_path: Path
) -> None:
    for text in (f'[{{"b": 1}} ,\n {bad},[] ]', f"[{bad}]", f"[ {bad} ] {bad}", f'"b"\n{bad}'):
        found = records_of(tmp_path, text.encode(), FileFormat.JSON)
        values = [one.value for one in found if isinstance(one, FileRecord)]
        assert bad.encode() in values
        assert set(values) <= {bad.encode(), b'{"b": 1}', b"[]", b'"b"'}
        assert [one.offset for one in found if isinstance(one, FileRecord)] == list(
            range(1, len(values) + 1)
        )


def test_a_row_of_csv_is_the_object_that_a_producer_would_have_sent(tmp_path: Path) -> None:
    content = 'event_name,event_json,mnc\r\n"a ""b"",\nф","{""k"": 1}",\r\nshort\n'.encode()
    record, short = records_of(tmp_path, content, FileFormat.CSV)
    assert isinstance(record, FileRecord) and record.value is not None
    assert orjson.loads(record.value) == {"event_name": 'a "b",\nф', "event_json": '{"k": 1}'}
    assert short == Unreadable(4, "1 cells, but the header names 3 columns")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b'a,b\n"open', "line 2: not CSV"),
        (b"a\n\xff\n", "line 2: not UTF-8"),
        (b"\xef\xbb\xbfa,b\n1,2\n", "byte order mark"),
        (b"a,b,a\n1,2,3\n", "column 'a' is repeated"),
        (b"a,b\r1,2\r", "line 1: not CSV"),
        (b'a,b\n1,2"3\n', "line 2: not CSV"),
    ],
)
def test_csv_that_the_api_refuses_as_a_whole_is_an_error(
    content: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(FileFormatError, match=message):
        records_of(tmp_path, content, FileFormat.CSV)
    refused = read_body(CONTRACTS["events"], content, AcceptanceBounds({1}, 0, 1, {}))
    assert isinstance(refused, RefusedRequest)


def test_an_empty_line_in_csv_is_no_record(tmp_path: Path) -> None:
    _, empty = records_of(tmp_path, b"a,b\n1,2\n\n", FileFormat.CSV)
    assert empty == Unreadable(3, "0 cells, but the header names 2 columns")


def test_a_long_file_comes_in_chunks(tmp_path: Path) -> None:
    with write(tmp_path, "file", make_value() * 1 + b"\n" + b"x\n" * 2499) as file:
        assert [len(chunk) for chunk in read(file, FileFormat.JSONL)] == [1000, 1000, 500]


class _Bomb(io.RawIOBase):
    """A gzip file of a gigabyte in one line would look like this, decompressed."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        size = len(view)
        view[:] = b"x" * size
        self.read_bytes += size
        assert self.read_bytes < 1_000_000
        return size


@pytest.mark.parametrize("file_format", [FileFormat.JSONL, FileFormat.KCAT])
def test_a_line_without_an_end_is_read_to_its_bound(
    file_format: FileFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_formats, "LINE_BYTES_MAX", 100_000)
    with pytest.raises(FileFormatError, match="line 1: longer than 100,000 bytes"):
        list(read(io.BufferedReader(_Bomb()), file_format))


@pytest.mark.parametrize("file_format", [FileFormat.JSON, FileFormat.CSV])
def test_a_file_that_is_read_at_once_is_read_to_its_bound(
    file_format: FileFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_formats, "WHOLE_BYTES_MAX", 100_000)
    with pytest.raises(FileFormatError, match="larger than 100,000 bytes"):
        list(read(io.BufferedReader(_Bomb()), file_format))
