"""What a file of records seems to be."""

from __future__ import annotations

import errno
import gzip
import io
import os
from codecs import BOM_UTF8

import pytest

from tests.builders import make_value
from worker.tools.file_detection import HEAD_BYTES, detect
from worker.tools.file_formats import FileFormat, FileFormatError, FileRecord, read

ONE, TWO = make_value(profile_id="u1"), make_value(profile_id="u2")
PRETTY = ONE.replace(b",", b",\n  ").replace(b"{", b"{\n  ", 1)
SEVERAL_LINES = "pretty-printed JSON: a record on several lines"
KCAT = b'{"topic":"t","partition":0,"offset":1,"ts":5,"key":null,"payload":"{}"}\n'


@pytest.mark.parametrize(
    ("content", "file_format", "description"),
    [
        (ONE + b"\n" + TWO, FileFormat.JSONL, "a JSON value per line"),
        (b"", FileFormat.JSONL, "a JSON value per line"),
        (b"nonsense\n" + ONE, FileFormat.JSONL, "a JSON value per line"),
        (b"[1]\n[2]\n", FileFormat.JSONL, "a JSON value per line"),
        (b"[" + ONE + b"," + TWO + b"]", FileFormat.JSON, "a JSON array of records"),
        (b"[\n " + ONE + b",\n " + TWO + b"\n]\n", FileFormat.JSON, "a JSON array of records"),
        (PRETTY, FileFormat.JSON, SEVERAL_LINES),
        (
            PRETTY + b"\n" + PRETTY,
            FileFormat.JSON,
            SEVERAL_LINES,
        ),
        (
            ONE.replace(b",", b",\n", 1),
            FileFormat.JSON,
            SEVERAL_LINES,
        ),
        (ONE[:-5] + b"\n" + TWO, FileFormat.JSONL, "a JSON value per line"),
        (KCAT + KCAT, FileFormat.KCAT, "output of kcat -J"),
        (b"application_id,event_name\n1,a\n", FileFormat.CSV, "CSV with a header"),
        (b'"event_name"\r\na\r\n', FileFormat.CSV, "CSV with a header"),
        (BOM_UTF8 + ONE, FileFormat.JSONL, "a JSON value per line, with a byte order mark"),
        (
            gzip.compress(b"[]", mtime=0),
            FileFormat.JSON,
            "a JSON array of records, compressed with gzip",
        ),
    ],
)
def test_a_file_is_described(content: bytes, file_format: FileFormat, description: str) -> None:
    found = detect(io.BytesIO(content))
    assert (found.file_format, found.description) == (file_format, description)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named_with_its_remedy(encoding: str) -> None:
    with pytest.raises(FileFormatError, match="UTF-16 text; convert it to UTF-8: iconv"):
        detect(io.BytesIO(ONE.decode().encode(encoding)))


@pytest.mark.parametrize("size", [1, HEAD_BYTES - 1, HEAD_BYTES, 3 * HEAD_BYTES])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_no_byte_is_lost(size: int, pack: type[bytes]) -> None:
    content = b"x" * size + b"\nend"
    assert detect(io.BytesIO(pack(content))).stream.read() == content


@pytest.mark.parametrize("cut", [5, 40, 2000])
def test_damaged_gzip_is_an_error(cut: int) -> None:
    packed = gzip.compress(b"".join(b"%d,%d\n" % (n, n * n) for n in range(100_000)))
    with pytest.raises(FileFormatError, match="it seems to be gzip, but is damaged"):
        found = detect(io.BytesIO(packed[:cut]))
        list(read(found.stream, found.file_format))


class Failing(io.BytesIO):
    """A file on a disk that fails."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_file_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(FileFormatError, match="can't be read: Input/output error"):
        detect(Failing())


@pytest.mark.parametrize(
    "content",
    [
        b"[" + ONE + b", " + TWO + b"]\n",
        ONE.replace(b",", b",\n", 1) + b"\n" + TWO.replace(b",", b",\n", 1),
        BOM_UTF8 + b"[\n" + ONE + b",\n" + TWO + b"]",
        gzip.compress(ONE + b"\n" + TWO + b"\n"),
    ],
    ids=["array", "on several lines", "byte order mark", "gzip"],
)
def test_the_records_are_read(content: bytes) -> None:
    found = detect(io.BytesIO(content))
    records = [record for chunk in read(found.stream, found.file_format) for record in chunk]
    values = [record.value for record in records if isinstance(record, FileRecord)]
    assert [(value or b"").replace(b"\n", b"") for value in values] == [ONE, TWO]
    assert [record.offset for record in records if isinstance(record, FileRecord)] == [1, 2]


@pytest.mark.parametrize("content", [b"[\n" + ONE + b",\n", b"[1] x", b"[" * 100_000])
def test_a_broken_array_is_an_error_with_its_line(content: bytes) -> None:
    with pytest.raises(FileFormatError, match=r"line [0-9]+: not JSON"):
        list(read(io.BytesIO(content), FileFormat.JSON))
