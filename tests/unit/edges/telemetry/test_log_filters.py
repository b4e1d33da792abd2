"""How many log lines of a kind pass, what is counted, and which errors are remembered."""

from __future__ import annotations

import json
import logging

import pytest

from tests.readings import SECRET, WrittenLines, configured_log
from worker.edges.telemetry.log_filters import (
    DIAGNOSTICS,
    KINDS_MAX,
    LATEST_MAX,
    REPEATS_MAX,
    WINDOW_SECONDS,
    ClientConnections,
    RepeatLimit,
)


def test_the_latest_warnings_and_errors_are_remembered_redacted_and_bounded(
    root: logging.Logger,
) -> None:
    _, recent = configured_log(root, "console")
    logging.getLogger("worker.x").info("started")
    for number in range(LATEST_MAX + 1):
        logging.getLogger("worker.x").warning(f"trouble_{number}", extra={"key": SECRET})
    latest = recent.latest()
    assert [one["event"] for one in latest] == [
        f"trouble_{number}" for number in range(1, LATEST_MAX + 1)
    ]
    assert {one["key"] for one in latest} == {"***"}


def test_a_remembered_line_says_what_to_do(root: logging.Logger) -> None:
    stream, recent = configured_log(root)
    logging.getLogger("worker.x").error("parking_failed", extra={"records": 1, "detail": "x"})
    logging.getLogger("some.library").error("odd text")
    known, unknown = recent.latest()
    assert known["action"] == "Create the parking topic or grant WRITE."
    assert "action" not in unknown
    assert "action" not in stream.getvalue()


def events_of(stream: WrittenLines) -> list[tuple[str, str]]:
    """The lines: logger and event."""
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [(line["logger"], line["event"]) for line in lines]


class TestLevel:
    """Debug is switched on and off while the worker runs, for its own lines only."""

    @pytest.mark.parametrize(
        ("setting", "levels"),
        [
            ("info", ["debug", "info", "debug"]),
            ("error", ["debug", "error", "debug"]),
            ("debug", ["info", "debug", "info"]),
        ],
    )
    def test_debug_is_switched_on_and_off(
        self, root: logging.Logger, setting: str, levels: list[str]
    ) -> None:
        stream, logs = configured_log(root, level=setting)
        for level in levels:
            logs.level.toggle_debug()
            assert logs.level.name == level
            is_debug = level == "debug"
            assert logging.getLogger("worker.x").isEnabledFor(logging.DEBUG) == is_debug
            assert json.loads(stream.getvalue().splitlines()[-1])["log_level"] == level
        assert {event for _, event in events_of(stream)} == {"log_level_changed"}

    def test_a_library_s_lines_for_debugging_are_never_written(self, root: logging.Logger) -> None:
        stream, logs = configured_log(root)
        logs.level.toggle_debug()
        for name in ("worker.x", "aiohttp.client", "aiokafka.conn", "asyncio"):
            logging.getLogger(name).debug("payload")
            logging.getLogger(name).info("course")
        shown = [line for line in events_of(stream) if line[0] != DIAGNOSTICS]
        assert shown == [
            ("worker.x", "payload"),
            ("worker.x", "course"),
            ("aiohttp.client", "course"),
            ("asyncio", "course"),
        ]

    def test_lines_for_debugging_are_never_taken_for_repetitions(
        self, root: logging.Logger
    ) -> None:
        stream, _ = configured_log(root, level="debug")
        for _ in range(REPEATS_MAX * 3):
            logging.getLogger("worker.x").debug("pipeline_event")
        assert len(events_of(stream)) == REPEATS_MAX * 3


class TestConnectionsOfTheClient:
    """aiokafka's own lines about a broker that is away, beside the worker's line."""

    TEMPLATE = "Unable connect to node with id %s: %s"

    def line(self, name: str, message: str, *values: object) -> logging.LogRecord:
        return logging.LogRecord(name, logging.ERROR, "", 0, message, values, None)

    @pytest.mark.parametrize("code", ["kafka_not_reached", "ends_not_known", "commit_failed"])
    def test_a_fault_is_the_worker_s_line_alone_with_the_client_s_text(self, code: str) -> None:
        fold = ClientConnections(lambda: 0.0)
        assert not any(
            fold.filter(self.line("aiokafka", self.TEMPLATE, node, "refused")) for node in range(9)
        )
        own = [self.line("worker.kafka", code) for _ in range(2)]
        assert all(map(fold.filter, own))
        assert vars(own[0])["client_detail"] == "Unable connect to node with id 8: refused"
        assert "client_detail" not in vars(own[1])

    def test_a_text_without_a_line_of_the_worker_passes_once_a_window(self) -> None:
        seconds = 0.0
        fold = ClientConnections(lambda: seconds)
        passed = 0
        for _ in range(100):
            passed += fold.filter(self.line("aiokafka", self.TEMPLATE, 1, "refused"))
            seconds += WINDOW_SECONDS / 10
        assert passed == 9

    def test_other_lines_pass_as_they_are(self) -> None:
        fold = ClientConnections(lambda: 0.0)
        fold.filter(self.line("aiokafka", self.TEMPLATE, 1, "refused"))
        others = [
            self.line("aiokafka", "Unclosed AIOKafkaConsumer"),
            self.line("aiokafka.consumer.fetcher", self.TEMPLATE, 1, "x"),
            self.line("worker.post_api", "application_held"),
            logging.makeLogRecord({"name": "some.library", "levelno": 30, "msg": {"no": "text"}}),
        ]
        assert all(map(fold.filter, others))
        assert not any("client_detail" in vars(line) for line in others)


class TestRepeats:
    def lines(self, count: int, message: str = "again") -> list[logging.LogRecord]:
        return [
            logging.makeLogRecord({"name": "a", "levelno": 30, "msg": message})
            for _ in range(count)
        ]

    def test_the_first_few_of_a_kind_pass_and_the_next_window_shows_how_many_did_not(self) -> None:
        now = 0.0
        limit = RepeatLimit(lambda: now)
        assert [limit.filter(line) for line in self.lines(8)] == [True] * REPEATS_MAX + [False] * 3
        now = WINDOW_SECONDS
        (later,) = self.lines(1)
        assert limit.filter(later)
        assert vars(later)["repeats_held_back"] == 3

    def test_kinds_do_not_share_a_limit(self) -> None:
        limit = RepeatLimit(lambda: 0.0)
        for line in self.lines(20):
            limit.filter(line)
        assert all(limit.filter(line) for line in self.lines(1, "another"))

    def test_the_table_of_kinds_is_bounded(self) -> None:
        limit = RepeatLimit(lambda: 0.0)
        for number in range(KINDS_MAX * 2):
            for line in self.lines(1, f"kind {number}"):
                limit.filter(line)
        assert len(limit._windows) == KINDS_MAX

    def test_what_is_held_back_is_counted_all_the_same(self, root: logging.Logger) -> None:
        stream, counts = configured_log(root)
        for _ in range(20):
            logging.getLogger("worker.x").warning("again")
        assert len(stream.getvalue().splitlines()) == REPEATS_MAX
        assert counts.by_level["warning"] == 20
