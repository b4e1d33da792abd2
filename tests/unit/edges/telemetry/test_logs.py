"""Log lines: their form, and what they never hold."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from urllib.parse import quote_plus

import orjson
import pytest
from hypothesis import given, strategies

from tests.readings import SECRET, WrittenLines, configured_log, line_of
from worker.edges.telemetry.log_filters import LogLevel, RecentLogs
from worker.edges.telemetry.logs import (
    ConsoleFormatter,
    JsonFormatter,
    configure_logging,
    log_stray_exceptions,
)
from worker.edges.telemetry.redaction import CHARACTERS_MAX, Redactor


def test_a_json_line_has_time_level_logger_event_and_fields(root: logging.Logger) -> None:
    stream, _ = configured_log(root)
    logging.getLogger("worker.x").warning("commit_failed", extra={"partitions": 3})
    line = json.loads(stream.getvalue())
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "worker.x",
        "event": "commit_failed",
        "partitions": 3,
    }


def test_an_exception_stays_on_one_json_line(root: logging.Logger) -> None:
    stream, _ = configured_log(root)
    try:
        raise ValueError(f"in {SECRET}")
    except ValueError:
        logging.getLogger("worker.x").exception("broken")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: in ***" in json.loads(line)["error"]


def test_a_console_line_is_for_people(root: logging.Logger) -> None:
    stream, _ = configured_log(root, "console")
    logging.getLogger("worker.x").info("started", extra={"version": "1"})
    assert stream.getvalue().rstrip().endswith("info    started  version=1")


@pytest.mark.parametrize("format_name", ["json", "console"])
@pytest.mark.parametrize(
    "text",
    [
        f"plain {SECRET}",
        f"POST https://host/x.csv?post_api_key={SECRET}&a=b",
        f"encoded {quote_plus(SECRET)}",
        "unknown https://host/x.csv?post_api_key=SOMEBODYELSES",
    ],
    ids=["value", "query", "encoded", "key of somebody else"],
)
def test_no_line_holds_a_key(root: logging.Logger, format_name: str, text: str) -> None:
    stream, _ = configured_log(root, format_name)
    logger = logging.getLogger("aiohttp.client")
    logger.error(text)
    logger.error("in arguments: %s", text)
    logger.error("in_a_field", extra={"url": text})
    written = stream.getvalue()
    assert written.count("***") >= 3
    for secret in (SECRET, quote_plus(SECRET), "SOMEBODYELSES"):
        assert secret not in written


class TestMasking:
    """Secrets are masked in values, so that a line that was redacted is still JSON."""

    @pytest.mark.parametrize("secret", ["1", "1111", "e", "null", '":"', "worker"])
    def test_a_secret_that_is_part_of_json_leaves_the_line_whole(
        self, root: logging.Logger, secret: str
    ) -> None:
        stream, recent = configured_log(root, secret=secret)
        logging.getLogger("worker.x").warning(
            "held", extra={"application_id": 1111, "reason": None, "text": f"<{secret}>"}
        )
        line = json.loads(stream.getvalue())
        assert (line["application_id"], line["reason"], line["text"]) == (1111, None, "<***>")
        assert recent.latest() == [line]

    def test_a_secret_is_masked_however_deep_it_is(self, root: logging.Logger) -> None:
        stream, _ = configured_log(root)
        value = {"a": [(SECRET, {SECRET: {SECRET}})], "b": SECRET.encode(), "c": ValueError(SECRET)}
        logging.getLogger("worker.x").warning("deep", extra={"field": value})
        assert SECRET not in stream.getvalue()
        assert stream.getvalue().count("***") == 5


@pytest.mark.parametrize(
    "field",
    [2**70, "\ud800", {"a": {1, 2}}, float("nan"), object()],
    ids=["big integer", "lone surrogate", "set", "NaN", "object"],
)
def test_whatever_a_field_holds_the_line_is_written(root: logging.Logger, field: object) -> None:
    stream, _ = configured_log(root)
    logging.getLogger("worker.x").warning("odd", extra={"field": field})
    assert json.loads(stream.getvalue())["event"] == "odd"


# All that a field may hold: half characters, integers of any size, what is no number.
_LEAVES = (
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.integers().map(lambda number: number**40)
    | strategies.floats()
    | strategies.text(strategies.characters(exclude_categories=()))
    | strategies.binary()
)
_VALUES = strategies.recursive(
    _LEAVES,
    lambda inner: (
        strategies.lists(inner)
        | strategies.dictionaries(_LEAVES, inner)
        | strategies.tuples(inner, inner)
    ),
)


@given(_VALUES, strategies.text(strategies.characters(exclude_categories=())))
def test_whatever_lines_hold_they_are_lines_and_the_errors_can_be_shown(
    value: object, name: str
) -> None:
    for formatter in (JsonFormatter(Redactor([SECRET])), ConsoleFormatter(Redactor([SECRET]))):
        (line,) = formatter.format(line_of(name, value)).split("\n")
        assert line.encode()
    recent = RecentLogs(Redactor(()), WrittenLines(), LogLevel("info"))
    recent.note(JsonFormatter(Redactor(())).format(line_of(name, value)))
    assert orjson.loads(orjson.dumps(recent.latest())) == recent.latest()


def test_a_long_text_loses_its_middle(root: logging.Logger) -> None:
    stream, _ = configured_log(root)
    logging.getLogger("worker.x").warning(
        "long", extra={"text": "a" * 40_000 + "b" * 1_000_000 + "c" * 40_000}
    )
    shown = json.loads(stream.getvalue())["text"]
    assert (shown[:32768].strip("a"), shown[-32768:].strip("c")) == ("", "")
    assert len(shown) < CHARACTERS_MAX + 100


def test_a_line_for_people_moves_no_cursor(root: logging.Logger) -> None:
    stream, _ = configured_log(root, "console")
    logging.getLogger("worker.x").warning("odd", extra={"text": "\x1b[31mred\nnext"})
    assert stream.getvalue().endswith("odd  text=\\x1b[31mred\\nnext\n")


def test_a_field_cannot_hide_what_happened(root: logging.Logger) -> None:
    stream, _ = configured_log(root)
    logging.getLogger("worker.x").warning("lost", extra={"event": "all is well", "level": "info"})
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"]) == ("lost", "warning")


def test_a_stack_that_was_asked_for_is_in_the_line(root: logging.Logger) -> None:
    stream, _ = configured_log(root)
    logging.getLogger("worker.x").warning("stalled", stack_info=True)
    assert "test_a_stack_that_was_asked_for" in json.loads(stream.getvalue())["stack"]


@pytest.mark.parametrize("format_name", ["json", "console"])
def test_a_line_that_cannot_be_written_is_reported_without_its_content(
    root: logging.Logger, format_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, _ = configured_log(root, format_name)
    logging.getLogger("some.library").error("%d requests", SECRET)
    assert "log_line_failed" in stream.getvalue()
    assert "some.library" in stream.getvalue()
    assert SECRET not in stream.getvalue() + "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "secret",
    ['quo"te\\s', "ключ", "tab\there", "it's"],
    ids=["quotes", "Cyrillic", "tab", "apostrophe"],
)
@pytest.mark.parametrize("format_name", ["json", "console"])
def test_a_secret_is_masked_in_every_notation(
    root: logging.Logger, secret: str, format_name: str
) -> None:
    stream, _ = configured_log(root, format_name, secret)
    logger = logging.getLogger("worker.x")
    logger.error(
        "plain", extra={"text": secret, "shown": repr(secret), "sent": repr(secret.encode())}
    )
    assert stream.getvalue().count("***") == 3


@pytest.mark.parametrize(
    ("format_name", "shown"),
    [
        ("json", r'\{.*"level":"warning".*"event":"log_lines_dropped","lines":7\}'),
        ("console", r"[0-9:.]+ warning log_lines_dropped  lines=7"),
    ],
)
def test_dropped_lines_are_reported_in_the_format_of_the_others(
    root: logging.Logger, format_name: str, shown: str
) -> None:
    notices: list[Callable[[int], str]] = []

    def open_lines(notice: Callable[[int], str]) -> WrittenLines:
        notices.append(notice)
        return WrittenLines()

    configure_logging(format_name, "info", [], open_lines)
    (notice,) = notices
    assert re.fullmatch(shown, notice(7))


@pytest.fixture
def stray_exceptions() -> Iterator[None]:
    """Exceptions that nobody can catch are logged; the hooks are restored afterwards."""
    unraisable, of_thread = sys.unraisablehook, threading.excepthook
    log_stray_exceptions()
    yield
    sys.unraisablehook, threading.excepthook = unraisable, of_thread


class Fails:
    """An object whose destructor fails."""

    def __del__(self) -> None:
        raise ValueError(f"in {SECRET}")


@pytest.mark.usefixtures("stray_exceptions")
def test_an_exception_in_a_destructor_is_a_line_without_secrets(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, _ = configured_log(root)
    failing = Fails()
    del failing
    line = json.loads(stream.getvalue())
    assert line["event"] == "exception_ignored"
    assert "ValueError: in ***" in line["error"]
    assert SECRET not in stream.getvalue() + "".join(capsys.readouterr())


@pytest.mark.usefixtures("stray_exceptions")
def test_an_exception_in_a_thread_is_a_line_without_secrets(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, _ = configured_log(root)

    def fail() -> None:
        raise ValueError(f"in {SECRET}")

    thread = threading.Thread(target=fail, name="the failing thread")
    thread.start()
    thread.join()
    line = json.loads(stream.getvalue())
    assert (line["event"], line["thread_name"]) == ("thread_failed", "the failing thread")
    assert "ValueError: in ***" in line["error"]
    assert SECRET not in stream.getvalue() + "".join(capsys.readouterr())
