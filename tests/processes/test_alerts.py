"""The alerts, in Prometheus's own rule tests: each fires on its fault and is silent on health."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from worker.cli.main import cli
from worker.edges.telemetry.metrics.collector import METRICS
from worker.edges.telemetry.metrics.definition import PREFIX, HistogramMetric
from worker.edges.telemetry.status import STATUS
from worker.edges.telemetry.status_objects import TOPIC as TOPIC_KEYS

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm" / "files" / "alerts.yaml"
RUNBOOK = ROOT / "docs" / "runbook.md"
CHECK_SECONDS_MAX = 120
# Minutes: health, then the fault, then health again.
FAULT, RECOVERY, END = 60, 180, 280
CHECK_MINUTES = 5
WORKER = 'instance="a:9090",job="worker"'
DAY = 86_400
ANY = ".*"
# promtool takes no infinite value in a series.
NEVER = "1e300"


def series(name: str, labels: str = "") -> str:
    prefix = "" if name.startswith("process_") else PREFIX
    return f"{prefix}{name}{{{WORKER}{',' + labels if labels else ''}}}"


TOPIC = 'topic="events"'
CONSUMED = series("records_consumed_total", TOPIC)
DELIVERED = series("records_delivered_total", TOPIC)
DEAD = series("dlq_records_total", TOPIC + ',reason="missing"')
WITHOUT_KEY = series("records_without_key_total", TOPIC + ',why="missing"')
LAG = series("consumer_lag_records", TOPIC + ',partition="0"')
LEFT = series("oldest_event_seconds_left")
PARKED = series("records_parked", TOPIC)
ASSIGNED = series("consumer_assigned_partitions", TOPIC)
HELD = series("application_held", 'application_id="1111",reason="http_403"')
STARTED = series("process_start_time_seconds")
BUILD = series("build_info", 'version="1.0"')

# Values in promtool's notation: first value, change per minute, number of changes.
HEALTH: dict[str, str] = {
    CONSUMED: f"0+600x{END}",
    DELIVERED: f"0+600x{END}",
    DEAD: f"0+1x{END}",
    series("events_ahead_total", TOPIC): f"0+1x{END}",
    series("offsets_skipped_total", TOPIC): f"0x{END}",
    series("log_truncations_total", TOPIC): f"0x{END}",
    WITHOUT_KEY: f"0+1x{END}",
    LAG: f"100x{END}",
    LEFT: f"{14 * DAY - 60}x{END}",
    series("loss_begins_seconds"): f"{NEVER}x{END}",
    series("accounting_imbalance_records"): f"0x{END}",
    series("writes_blocked", 'stage="dead_letter"'): f"0x{END}",
    series("writes_blocked", 'stage="parking"'): f"0x{END}",
    series("partitions_unreadable", TOPIC): f"0x{END}",
    series("clock_doubted"): f"0x{END}",
    PARKED: f"0x{END}",
    BUILD: f"1x{END}",
    series("ready"): f"1x{END}",
    STARTED: f"1000x{END}",
    ASSIGNED: f"6x{END}",
    # A deployment: three rebalances at once.
    series("consumer_rebalances_total", 'event="assigned"'): f"1x30 4x{END - 31}",
    series("consumer_rebuilds_total"): f"0x{END}",
    series("process_resident_memory_bytes"): f"500x{END}",
    series("memory_limit_bytes"): f"1000x{END}",
    series("key_files_unusable"): f"0x{END}",
}


@dataclass(frozen=True)
class Fault:
    """What goes wrong from `FAULT` to `RECOVERY`.

    Attributes:
        series: the values that differ from health; None: the series is missing.
        fires_after: minutes from the fault to the alert.
        ends_after: minutes from the recovery to the end of the alert.
    """

    series: dict[str, str | None]
    fires_after: int
    ends_after: int = 5


def during(healthy: str, faulty: str) -> str:
    """A gauge that has another value during the fault."""
    length = RECOVERY - FAULT - 1
    return f"{healthy}x{FAULT - 1} {faulty}x{length} {healthy}x{END - RECOVERY}"


def counted(per_minute: int, healthy: int = 0) -> str:
    """A counter that grows by this in each minute of the fault."""
    first = healthy * FAULT
    last = first + per_minute * (RECOVERY - FAULT)
    return (
        f"0+{healthy}x{FAULT - 1} {first}+{per_minute}x{RECOVERY - FAULT - 1} "
        f"{last}+{healthy}x{END - RECOVERY}"
    )


FAULTS: dict[str, Fault] = {
    "OffsetsSkipped": Fault({series("offsets_skipped_total", TOPIC): counted(10)}, 5, 65),
    "LogTruncated": Fault({series("log_truncations_total", TOPIC): counted(1)}, 5, 65),
    "EventsExpireSoon": Fault({LEFT: during(str(13 * DAY), "40000")}, 10),
    "LossForecast": Fault({series("loss_begins_seconds"): during(NEVER, str(2 * DAY))}, 35),
    "AccountingImbalance": Fault({series("accounting_imbalance_records"): during("0", "-3")}, 10),
    "NotDelivering": Fault(
        {DELIVERED: counted(0, 600), LAG: f"100x{FAULT - 1} 100+600x119 100x{END - RECOVERY}"},
        25,
        15,
    ),
    "ApplicationHeld": Fault(
        {HELD: f"_x{FAULT - 1} 1x{RECOVERY - FAULT - 1} _x{END - RECOVERY}"}, 10, 10
    ),
    "TopicUnwritable": Fault(
        {series("writes_blocked", 'stage="dead_letter"'): during("0", "1")}, 5
    ),
    "PartitionsUnreadable": Fault({series("partitions_unreadable", TOPIC): during("0", "2")}, 10),
    "ClockDoubted": Fault({series("clock_doubted"): during("0", "1")}, 5),
    "DeadLettersFast": Fault({DEAD: counted(300, 1)}, 25, 10),
    "DeadLettersSlow": Fault({DEAD: counted(60, 1)}, 95, 35),
    "EventsFromTheFuture": Fault({series("events_ahead_total", TOPIC): counted(200, 1)}, 30, 20),
    "RecordsWithoutKey": Fault({WITHOUT_KEY: counted(60, 1)}, 35, 20),
    "ParkedNotShrinking": Fault({PARKED: during("0", "50")}, 95),
    "Absent": Fault({BUILD: f"1x{FAULT - 1} _x{RECOVERY - FAULT - 1} 1x{END - RECOVERY}"}, 15),
    "NotReady": Fault({series("ready"): during("1", "0")}, 15),
    "CrashLoop": Fault(
        {STARTED: f"1000x{FAULT - 1} 2000+60x{RECOVERY - FAULT - 1} 9000x{END - RECOVERY}"}, 5, 35
    ),
    "PartitionsWithoutMember": Fault({ASSIGNED: during("6", "4")}, 15),
    "RebalanceStorm": Fault(
        {series("consumer_rebalances_total", 'event="assigned"'): counted(1)}, 20, 35
    ),
    "ConsumerRebuilt": Fault({series("consumer_rebuilds_total"): counted(1)}, 5, 35),
    "MemoryNearLimit": Fault({series("process_resident_memory_bytes"): during("500", "950")}, 10),
    "KeyFileUnusable": Fault({series("key_files_unusable"): during("0", "1")}, 10),
}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    assert isinstance(group["rules"], list)
    return group["rules"]


def names() -> list[str]:
    return [rule["alert"].removeprefix("AppMetricaWorker") for rule in rules()]


def run(promtool: str, folder: Path, tests: list[dict[str, Any]]) -> None:
    """Run rule tests; a failure shows the output of promtool."""
    file = folder / "test.yaml"
    # Each JSON text is a YAML text.
    file.write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}),
        encoding="utf-8",
    )
    ran = subprocess.run(
        [promtool, "test", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=CHECK_SECONDS_MAX,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def alert_case(
    name: str, faulty: dict[str, str | None], checks: list[dict[str, Any]]
) -> dict[str, Any]:
    values = {**HEALTH, **faulty}
    return {
        "name": name,
        "interval": "1m",
        "input_series": [
            {"series": one, "values": value} for one, value in values.items() if value is not None
        ],
        "promql_expr_test": checks,
    }


def check(minute: int, alert: str, firing: int) -> dict[str, Any]:
    state = ".*" if alert == ANY else "firing"
    expression = f'count(ALERTS{{alertname=~"{alert}",alertstate=~"{state}"}})'
    return {
        "expr": expression,
        "eval_time": f"{minute}m",
        "exp_samples": [{"labels": "{}", "value": firing}] if firing else [],
    }


def test_the_rules_are_valid(promtool: str) -> None:
    checked = subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", str(RULES)],
        capture_output=True,
        text=True,
        timeout=CHECK_SECONDS_MAX,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_has_its_fault() -> None:
    assert sorted(FAULTS) == sorted(names())


def test_no_alert_is_even_pending_in_a_healthy_run(promtool: str, tmp_path: Path) -> None:
    minutes = range(0, END + 1, CHECK_MINUTES)
    run(promtool, tmp_path, [alert_case("health", {}, [check(one, ANY, 0) for one in minutes])])


@pytest.mark.parametrize("name", FAULTS)
def test_an_alert_fires_on_its_fault_as_long_as_it_lasts_and_ends_with_it(
    promtool: str, tmp_path: Path, name: str
) -> None:
    fault, alert = FAULTS[name], f"AppMetricaWorker{name}"
    fires = range(FAULT + fault.fires_after, RECOVERY, CHECK_MINUTES)
    silent = [
        *range(0, FAULT, CHECK_MINUTES),
        *range(RECOVERY + fault.ends_after, END + 1, CHECK_MINUTES),
    ]
    assert len(fires) > 3
    checks = [check(one, alert, 1) for one in fires] + [check(one, alert, 0) for one in silent]
    run(promtool, tmp_path, [alert_case(name, fault.series, checks)])


def test_an_alert_about_time_has_the_time_in_its_text(promtool: str, tmp_path: Path) -> None:
    (rule,) = [one for one in rules() if one["alert"] == "AppMetricaWorkerEventsExpireSoon"]
    left = "11h 6m 40s"
    texts = {
        key: text.replace("{{ $value | humanizeDuration }}", left)
        for key, text in rule["annotations"].items()
    }
    expected = {"exp_labels": {**rule["labels"], "job": "worker"}, "exp_annotations": texts}
    case = alert_case("text", {LEFT: during(str(13 * DAY), "40000")}, [])
    case["alert_rule_test"] = [
        {"eval_time": "90m", "alertname": rule["alert"], "exp_alerts": [expected]}
    ]
    assert left in texts["summary"]
    run(promtool, tmp_path, [case])


def test_every_metric_of_an_alert_is_defined() -> None:
    defined = {
        PREFIX + metric.name for metric in METRICS if not isinstance(metric, HistogramMetric)
    }
    used = {name for rule in rules() for name in re.findall(rf"{PREFIX}\w+", rule["expr"])}
    assert used - defined == set()


def sections() -> dict[str, str]:
    """The sections of the runbook by heading."""
    _, *parts = re.split(r"^## ", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {heading: text for heading, _, text in (part.partition("\n") for part in parts)}


def test_every_alert_has_its_section_in_the_runbook() -> None:
    anchors = {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in sections()}
    linked = [rule["annotations"]["runbook_url"].partition("#")[2] for rule in rules()]
    assert [one for one in linked if one not in anchors] == []
    assert anchors - set(linked) == set()


@pytest.mark.parametrize("heading", sections())
def test_a_section_says_what_it_means_what_to_run_and_how_to_see_that_it_worked(
    heading: str,
) -> None:
    text = sections()[heading]
    parts = ("**Meaning.**", "**Users feel**", "**Fix.**", "**It worked**")
    places = [text.find(part) for part in parts]
    assert min(places) >= 0
    assert places == sorted(places)
    commands = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    assert len(commands) == 3


def test_the_runbook_uses_commands_and_keys_that_exist() -> None:
    text = RUNBOOK.read_text(encoding="utf-8")
    commands = set(re.findall(r"appmetrica-worker ([a-z-]+)", text))
    assert commands <= set(cli.list_commands(click.Context(cli)))
    keys = {key.name for key in STATUS}
    used = {
        key
        for expression in re.findall(r"/status \| jq '([^']+)'", text)
        for key in re.findall(r"(?:^|[{, |]|\[)\.?([a-z_]+)", expression.split(" | ")[0])
        if key != "select"
    }
    assert used - keys - {key.name for key in TOPIC_KEYS} == set()
    assert len(used) > 10


def test_a_fault_of_an_installation_is_not_hidden_by_a_healthy_one(
    promtool: str, tmp_path: Path
) -> None:
    """Two jobs with the same topic: one delivers, the other doesn't."""
    other = {name.replace('job="worker"', 'job="other"'): values for name, values in HEALTH.items()}
    faulty = {**other, **FAULTS["NotDelivering"].series}
    checks = [check(FAULT + 30, "AppMetricaWorkerNotDelivering", 1)]
    run(promtool, tmp_path, [alert_case("two installations", faulty, checks)])


def test_a_parking_topic_without_a_worker_is_an_alert_though_nothing_is_counted_as_parked(
    promtool: str, tmp_path: Path
) -> None:
    parking = series("consumer_assigned_partitions", 'topic="offline-events.parked"')
    fault = FAULTS["PartitionsWithoutMember"]
    checks = [
        check(minute, f"AppMetricaWorker{name}", firing)
        for minute in range(FAULT + fault.fires_after, RECOVERY, CHECK_MINUTES)
        for name, firing in (("PartitionsWithoutMember", 1), ("ParkedNotShrinking", 0))
    ]
    changes: dict[str, str | None] = {parking: during("2", "0"), PARKED: f"0x{END}"}
    run(promtool, tmp_path, [alert_case("parking topic", changes, checks)])
