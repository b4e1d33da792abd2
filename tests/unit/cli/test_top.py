"""The picture of `top`, from recorded documents: 80 columns, and foreign text is only text."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.readings import INFO, make_reading
from worker.cli.main import cli
from worker.cli.top_screen import screen
from worker.edges.telemetry.redaction import plain
from worker.edges.telemetry.status import status_of
from worker.tools.top import WorkerAnswer, admin_url

MOMENT = datetime(2026, 11, 28, 10, 12, 33)
SILENT = WorkerAnswer("worker-9:9090", None, "Connection refused")


def recorded(**changes: object) -> WorkerAnswer:
    """The answer of a worker, as it comes over the wire."""
    status: dict[str, Any] = orjson.loads(orjson.dumps(plain(status_of(make_reading(**changes)))))
    return WorkerAnswer("worker-1:9090", status)


def shown(*answers: WorkerAnswer, width: int = 80) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, highlight=False, markup=False, emoji=False)
    console.print(screen(answers, MOMENT))
    return output.getvalue()


def test_one_worker_is_shown_with_its_details() -> None:
    text = shown(recorded())
    for words in (
        "10:12:33  1 worker  lag 10  in 4.0/s  delivered 3.1/s",
        "pod-1",
        "The accounting can't explain 2 records",
        "Held: application 1111, the API refuses the key (403)",
        "in memory  linked 1  batching 2  waiting 3  in flight 4",
        "oldest event too old in 44 s",
        "1111         held       http_403",
        "offline-events-3",
        "paused",
        "appmetrica-worker dlq peek --reason missing",
        "commit_failed",
    ):
        assert words in text, words


def test_of_several_workers_each_has_a_line_and_only_trouble_has_words() -> None:
    calm = recorded(
        info=replace(INFO, host="pod-2"),
        holds=(),
        throttles=(),
        imbalance=0,
        partition_errors={},
        key_files_unusable=[],
        is_dead_letter_blocked=False,
        expiring_rows={},
        destination=make_reading().snapshot.destination,
    )
    assert calm.status is not None
    delivering = {"state": "delivering", "urgency": "ok", "title": "Delivering"}
    calm = WorkerAnswer("worker-2:9090", {**calm.status, "situations": [delivering]})
    text = shown(recorded(), calm, SILENT)
    assert "3 workers, 1 without an answer  lag 20  in 8.0/s" in text
    assert "pod-2" in text
    assert "pod-2: " not in text
    assert "pod-1: The accounting can't explain 2 records" in text
    assert "worker-9:9090: Connection refused" in text


@pytest.mark.parametrize("width", [80, 60, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = "a-very-long-name-of-a-pod-" * 5
    answers = [recorded(info=replace(INFO, host=long)), replace(SILENT, address=long), recorded()]
    for lines in (shown(*answers, width=width), shown(answers[0], width=width)):
        assert max(map(len, lines.splitlines())) <= width


def test_foreign_text_does_nothing_to_the_terminal() -> None:
    hostile = "\x1b[2J[red]:smile:\x07"
    text = shown(recorded(info=replace(INFO, host=hostile), not_ready_because=hostile))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]:smile:" in text


ODD: dict[str, Mapping[str, Any]] = {
    "an older worker": {"partitions": [], "holds": [], "topics": {}},
    "other types": {
        "partitions": [1, {"topic": 3, "partition": None, "lag_records": "many"}],
        "situations": [{"state": 1, "urgency": [], "title": None}, 5],
        "flow": "none",
        "records_held": [1],
        "held_bytes": True,
        "held_bytes_max": 0,
        "destination": None,
        "applications": [{"application_id": {}, "rows": {}}],
        "last_errors": [{"ts": 1, "event": 2, "detail": 3}, "x"],
        "topics": {"a": 5, "b": {"dead_lettered": {"missing": "many", "odd": 3}}},
        "forecast": {"lag_drain_seconds": "inf", "oldest_event_seconds_left": None},
    },
}


@pytest.mark.parametrize("status", ODD.values(), ids=list(ODD))
def test_a_document_of_another_shape_is_shown_as_far_as_it_goes(status: Mapping[str, Any]) -> None:
    assert "worker-1:9090" in shown(WorkerAnswer("worker-1:9090", status))


def test_of_many_partitions_the_number_of_the_others_is_shown() -> None:
    partitions = [{"topic": "t", "partition": n, "lag_records": n} for n in range(100)]
    answer = recorded()
    assert answer.status is not None
    text = shown(WorkerAnswer("a:1", {**answer.status, "partitions": partitions}))
    assert "t-99" in text
    assert "t-50" not in text
    assert "and 92 more" in text


ADDRESSES = {
    "worker-1": "http://worker-1:9090",
    "worker-1:8080": "http://worker-1:8080",
    "10.0.0.3": "http://10.0.0.3:9090",
    "[::1]:9090": "http://[::1]:9090",
    "http://worker-1": "http://worker-1",
    "https://ops.example/workers/1/": "https://ops.example/workers/1/",
    "http://worker-1:9090/status": "http://worker-1:9090/",
}


@pytest.mark.parametrize(("text", "url"), ADDRESSES.items(), ids=list(ADDRESSES))
def test_an_address_is_a_host_with_or_without_a_port_or_a_url(text: str, url: str) -> None:
    assert str(admin_url(text)).rstrip("/") == url.rstrip("/")


@pytest.mark.parametrize("text", ["", "ftp://worker-1", "http://", "worker-1:port", "a b:1"])
def test_what_is_no_address_is_wrong_usage(text: str) -> None:
    result = CliRunner().invoke(cli, ["top", "--once", "--url", text])
    assert result.exit_code == 2
    assert "admin port" in result.output


@pytest.mark.parametrize("text", ["http://user:secret-word@worker-1:9090", "secret-word@worker-1"])
def test_an_address_with_a_password_is_wrong_usage_and_is_not_repeated(text: str) -> None:
    result = CliRunner().invoke(cli, ["top", "--once", "--url", text])
    assert result.exit_code == 2
    assert "--token-file" in result.output and "secret-word" not in result.output
