"""The content of a secret's file: stray text is named, and nothing of it is shown."""

from __future__ import annotations

import pytest

from worker.core.model.secret_text import SECRET_BYTES_MAX, Unusable, key_in, secret_in

BAD_FILES = {
    "empty": (b"", "is empty"),
    "a line break": (b"\r\n\n", "is empty"),
    "a byte order mark": ("\ufeffhidden".encode(), "byte order mark"),
    "UTF-16": ("hidden".encode("utf-16"), "not UTF-8"),
    "too large": (b"h" * (SECRET_BYTES_MAX + 1), "larger than 65,536 bytes"),
}
BAD_KEYS = BAD_FILES | {
    "blanks": (b" \t\n", "is empty"),
    "white space before": (b" hidden", "white space"),
    "white space within": (b"hid den", "white space"),
    "two lines": (b"hidden\nhidden\n", "white space"),
    "single quotes": (b"'hidden'", "quotes"),
    "double quotes": (b'"hidden"', "quotes"),
    "quotes of a text processor": ("\u201chidden\u201d".encode(), "quotes"),
    "a zero-width space": ("hid\u200bden".encode(), "invisible"),
    "a NUL": (b"hid\0den", "invisible"),
    "a part of every line": (b"110", "fewer than 4 characters"),
}


@pytest.mark.parametrize(("data", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_what_is_no_secret_is_named_and_not_shown(data: bytes, message: str) -> None:
    found = secret_in(data)
    assert isinstance(found, Unusable)
    assert message in found.message
    assert "hid" not in found.message


@pytest.mark.parametrize(("data", "message"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_what_is_no_key_is_named_and_not_shown(data: bytes, message: str) -> None:
    found = key_in(data)
    assert isinstance(found, Unusable)
    assert message in found.message
    assert "hid" not in found.message


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_line_breaks_at_the_end_are_not_the_secret(end: bytes) -> None:
    assert secret_in(b"it's a pass word " + end) == "it's a pass word "
    assert key_in(b"a-key \t" + end) == "a-key"


def test_a_secret_of_the_largest_size_is_read() -> None:
    assert secret_in(b"k" * SECRET_BYTES_MAX) == "k" * SECRET_BYTES_MAX
