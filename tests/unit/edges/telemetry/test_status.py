"""`/status`: each key with its value, and every key described."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import orjson

from tests.readings import INFO, PARKED, TOPIC, make_reading
from worker.edges.telemetry.redaction import plain
from worker.edges.telemetry.status import APPLICATIONS_MAX, STATUS, status_of
from worker.edges.telemetry.status_objects import Key

# What scripts build on; the names are fixed.
KEYS = """
version time_unix_seconds is_stopping not_ready_because dead_letter_topic_is_blocked
parking_topic_is_blocked partitions partitions_in_trouble holds throttled_applications
records_held held_bytes destination clock dedup_window_rows
oldest_unsettled_event_timestamp_seconds host group_id started_unix_seconds situations flow
stop_deadline_unix_seconds partition_count lag_records span_records_max applications
application_count held_bytes_max accounting_imbalance_records topics requests retries commits
last_delivery_timestamp_seconds last_commit_timestamp_seconds last_errors log_level
""".split()


def served() -> dict[str, object]:
    """The status as a client reads it."""
    status = orjson.loads(orjson.dumps(plain(status_of(make_reading()))))
    assert isinstance(status, dict)
    return status


def test_the_fixed_keys_are_there() -> None:
    assert set(KEYS) <= set(served())


def test_partitions_have_their_offsets_and_their_lag() -> None:
    assert served()["partitions"] == [
        {
            "topic": TOPIC,
            "partition": 3,
            "epoch": 1,
            "position": 10,
            "safe_position": 9,
            "committed": 8,
            "span_records": 1,
            "unsettled_records": 1,
            "lag_records": 6,
            "records_behind_transaction": 7,
            "end_age_seconds": 2.0,
            "is_paused": True,
            "is_draining": False,
        },
        {
            "topic": PARKED,
            "partition": 0,
            "epoch": 1,
            "position": 2,
            "safe_position": 2,
            "committed": None,
            "span_records": 0,
            "unsettled_records": 0,
            "lag_records": 4,
            "records_behind_transaction": 0,
            "end_age_seconds": 2.0,
            "is_paused": False,
            "is_draining": True,
        },
    ]


def test_a_partition_whose_end_is_not_known_has_no_lag() -> None:
    partitions = status_of(make_reading(ends={}))["partitions"]
    assert isinstance(partitions, list)
    for key in ("lag_records", "records_behind_transaction", "end_age_seconds"):
        assert [partition[key] for partition in partitions] == [None, None]


def test_what_is_held_back_has_its_reason() -> None:
    status = served()
    assert status["holds"] == [
        {
            "application_id": 1111,
            "reason": "http_403",
            "since_unix_seconds": 1.0,
            "next_probe_unix_seconds": 2.0,
            "rows": 5,
            "is_parking": False,
        }
    ]
    assert status["throttled_applications"] == [
        {
            "application_id": 2222,
            "reason": "http_429",
            "since_unix_seconds": 1.0,
            "paused_seconds": 20.0,
            "rows": 7,
        }
    ]
    assert status["partitions_in_trouble"] == [
        {"topic": TOPIC, "partition": 4, "detail": "no leader"}
    ]
    assert status["destination"] == {
        "breaker": "open",
        "requests_in_flight_limit": 8,
        "requests_in_flight": 3,
        "failing_because": "http_503",
        "failing_since_unix_seconds": 2.5,
        "next_probe_unix_seconds": 9.5,
    }
    assert status["events_expiring_within_seconds"] == {"3600": 1, "21600": 2, "86400": 3}
    assert status["forecast"] == {
        "settled_per_second": 41.0,
        "produced_per_second": 42.0,
        "lag_drain_seconds": 43.0,
        "oldest_event_seconds_left": 44.0,
        "loss_begins_seconds": "inf",
        "desired_replicas": 0.5,
    }
    assert status["clock"] == {"trust": "doubted", "seconds_ahead": 1_296_000.5}


def test_applications_show_what_stops_them_and_those_in_trouble_come_first() -> None:
    quiet = {"reason": None, "since_unix_seconds": None, "next_request_unix_seconds": None}
    assert served()["applications"] == [
        {
            "application_id": 1111,
            "state": "held",
            "key": "refused",
            "reason": "http_403",
            "since_unix_seconds": 1.0,
            "next_request_unix_seconds": 2.0,
            "rows": 5,
            "is_parking": False,
        },
        {
            "application_id": 2222,
            "state": "throttled",
            "key": "usable",
            "reason": "http_429",
            "since_unix_seconds": 1.0,
            "next_request_unix_seconds": 25.0,
            "rows": 7,
            "is_parking": False,
        },
        {"application_id": 3333, "state": "delivering", "key": "usable", "rows": 0}
        | {**quiet, "is_parking": False},
    ]


def test_an_application_whose_key_file_is_unusable_comes_before_those_without_trouble() -> None:
    reading = make_reading(holds=(), throttles=(), key_files_unusable=[3333])
    assert [(one.application_id, one.key) for one in reading.applications] == [
        (3333, "file_unusable"),
        (1111, "usable"),
        (2222, "usable"),
    ]


def test_a_thousand_applications_are_cut_and_their_number_is_given() -> None:
    info = replace(INFO, applications=tuple(range(1, 1001)))
    status = status_of(make_reading(info=info))
    assert isinstance(status["applications"], list)
    assert len(status["applications"]) == APPLICATIONS_MAX
    assert status["application_count"] == 1000


def test_the_flow_is_measured_over_at_least_ten_seconds() -> None:
    flow = served()["flow"]
    assert isinstance(flow, dict)
    # From 60 received records at 95 s to 100 at 105 s.
    assert (flow["measured_seconds"], flow["received"]) == (10.0, 4.0)


def test_the_headline_is_the_worst_that_is_the_case() -> None:
    situations = served()["situations"]
    assert isinstance(situations, list)
    assert [one["state"] for one in situations] == [
        "imbalance",
        "topic_blocked",
        "clock_doubted",
        "api_down",
        "loss_near",
        "held",
        "partition_unreadable",
        "key_file_unusable",
        "throttled",
    ]


def test_topics_have_the_account_of_their_records() -> None:
    assert served()["topics"] == {
        TOPIC: {
            "consumed": 100,
            "delivered": 61,
            "duplicates": 12,
            "duplicates_by_content": 3,
            "without_key": {"missing": 23},
            "dead_lettered": {"missing": 7},
            "skipped": {"tombstone": 25},
            "parked": 5,
            "given_back": 4,
            "offsets_skipped": 14,
            "log_truncations": 15,
            "unusual_values": {"os_name": 21},
            "drifts": [
                {"event_name": "purchase", "field": "colour", "change": "unknown", "records": 22}
            ],
        }
    }


def test_the_rest_is_the_reading_s() -> None:
    status = served()
    assert {name: status[name] for name in KEYS if not isinstance(status[name], list)} | {
        "topics": {},
        "destination": {},
        "clock": {},
        "forecast": {},
        "flow": {},
    } == {
        "version": "1.2.3",
        "time_unix_seconds": 5.0,
        "is_stopping": False,
        "not_ready_because": None,
        "stop_deadline_unix_seconds": None,
        "host": "pod-1",
        "group_id": "group-1",
        "started_unix_seconds": 4.5,
        "flow": {},
        "partition_count": 2,
        "application_count": 3,
        "lag_records": 10,
        "span_records_max": 800,
        "held_bytes_max": 5000,
        "dead_letter_topic_is_blocked": True,
        "parking_topic_is_blocked": False,
        "records_held": {
            "linked": 1,
            "batching": 2,
            "waiting": 3,
            "in_flight": 4,
            "dead_letter": 0,
            "parking": 1,
        },
        "held_bytes": 1234,
        "destination": {},
        "clock": {},
        "forecast": {},
        "dedup_window_rows": 36,
        "oldest_unsettled_event_timestamp_seconds": 1_700_000_000,
        "accounting_imbalance_records": -2,
        "topics": {},
        "requests": {"200": 25, "503": 26},
        "retries": {"http_503": 27},
        "commits": {"committed": 28},
        "last_delivery_timestamp_seconds": 1_700_000_034.0,
        "last_commit_timestamp_seconds": 1_700_000_035.0,
        "log_level": "warning",
    }
    assert status["last_errors"] == [
        {
            "action": "If it repeats: check the brokers and the rights of the group.",
            "event": "commit_failed",
        }
    ]


def test_members_are_the_keys_of_what_a_key_holds() -> None:
    status = status_of(make_reading())
    described = {path for path, _ in keys_of(STATUS)}
    shown = {
        f"{key.name}.{name}" for key in STATUS if key.members for name in members(status[key.name])
    }
    assert shown and shown <= described


def members(value: object) -> set[str]:
    """The keys of an object, of each object in a list, or of each object by topic."""
    if isinstance(value, list):
        return {name for one in value for name in one}
    assert isinstance(value, dict)
    return set(value[TOPIC]) if TOPIC in value else set(value)


def keys_of(keys: Iterable[Key[Any]], above: str = "") -> Iterator[tuple[str, Key[Any]]]:
    for key in keys:
        yield above + key.name, key
        yield from keys_of(key.members, f"{above}{key.name}.")


def test_every_key_has_a_sentence() -> None:
    for path, key in keys_of(STATUS):
        assert key.help.endswith("."), path
