"""The admin port over a real socket, and the metrics as a Prometheus client reads them."""

from __future__ import annotations

import errno
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from tests.builders import make_assignment
from worker.core.counters.counters import UNKNOWN, Counters, Histogram, RequestEnd, TopicAccount
from worker.core.counters.snapshot import (
    DestinationStatus,
    HoldStatus,
    PartitionStatus,
    Snapshot,
    ThrottleStatus,
)
from worker.core.model.answer import Response
from worker.core.model.clock import ClockStatus, Trust
from worker.core.model.fault import Reason
from worker.core.model.record import End
from worker.edges.telemetry.admin_server import AdminServer, listen_everywhere, status_of
from worker.edges.telemetry.metrics import PREFIX, Identification, Readings, WorkerCollector
from worker.errors import UnavailableError
from worker.settings.schema import Settings

TOPIC = "offline-events"
ASSIGNMENT = make_assignment(3)
ENDS = {ASSIGNMENT: End(stable=15, written=22, unix_seconds=3.0)}

# What operators build on; the names are fixed.
COUNTERS = """
records_consumed_total records_consumed_bytes_total records_rejected_total
records_deduplicated_total records_delivered_total batches_total batch_flush_total
http_requests_total http_retries_total commits_total consumer_rebalances_total dlq_records_total
dlq_publish_failures_total offsets_skipped_total log_messages_total events_ahead_total
records_ahead_total records_undated_total dedup_keys_evicted_total
""".split()
HISTOGRAMS = """
http_request_duration_seconds delivery_latency_seconds event_age_seconds batch_rows batch_bytes
commit_duration_seconds loop_lag_seconds
""".split()
GAUGES = """
build_info config_info ready consumer_lag_records consumer_assigned_partitions consumer_paused
records_outstanding buffer_bytes application_held dedup_window_rows last_poll_timestamp_seconds
last_delivery_timestamp_seconds last_commit_timestamp_seconds
oldest_unsettled_event_timestamp_seconds accounting_imbalance_records records_behind_transaction
""".split()


def snapshot() -> Snapshot:
    account = Counters(
        {TOPIC: TopicAccount(consumed=10, consumed_bytes=1000, delivered=6, duplicates=2)}
    )
    account.topics[TOPIC].rejected[Reason.MISSING] = 1
    account.topics[TOPIC].dead_lettered[Reason.MISSING] = 1
    account.topics[TOPIC].remarks.unusual_values["os_name"] = 4
    account.topics[TOPIC].remarks.drift("purchase", "colour", UNKNOWN)
    for _ in range(3):
        account.observe_request(Response(200, None, "", 0.02), RequestEnd("delivered"), 1)
    account.delivery_latency_seconds.observe(0.3)
    return Snapshot(
        account=account,
        partitions=(PartitionStatus(ASSIGNMENT, 10, 9, 8, 1, is_paused=True, is_draining=False),),
        holds=(HoldStatus(1111, "http_403", 1.0, 2.0, 5, is_parking=False),),
        throttles=(ThrottleStatus(2222, "http_429", 1.0, 20.0, 7),),
        rows={
            "linked": 0,
            "batching": 1,
            "waiting": 0,
            "in_flight": 0,
            "dead_letter": 0,
            "parking": 0,
        },
        destination=DestinationStatus("closed", 8, 0),
        held_bytes=1234,
        dedup_window_rows=6,
        dedup_keys_evicted={"films": 7},
        oldest_event_timestamp=1_700_000_000,
        imbalance=0,
        is_stopping=False,
        is_dead_letter_blocked=False,
        is_parking_blocked=False,
        clock=ClockStatus(Trust.DOUBTED, 1_296_000.5),
    )


def registry(ready: bool = True, of: Callable[[], Snapshot] = snapshot) -> CollectorRegistry:
    registry = CollectorRegistry()
    readings = Readings(
        snapshot=of,
        ends=lambda: ENDS,
        log_counts=lambda: {"error": 2},
        log_lines_dropped=lambda: 7,
        loop_lag_seconds=lambda: Histogram((0.1,)),
        is_ready=lambda: ready,
        rebuilds=lambda: 1,
    )
    registry.register(WorkerCollector(readings, IDENTIFICATION))
    return registry


IDENTIFICATION = Identification(
    "1.2.3", "abc", (TOPIC, f"{TOPIC}.parked"), {TOPIC: f"{TOPIC}.parked"}
)


@pytest.fixture
async def server() -> AsyncIterator[AdminServer]:
    server = AdminServer(
        "127.0.0.1", 0, registry(), lambda: status_of(snapshot(), ENDS, 5.0), lambda: None
    )
    await server.start()
    yield server
    await server.stop()


async def get(server: AdminServer, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{server.port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_every_fixed_metric_is_there_with_its_type(server: AdminServer) -> None:
    _, text = await get(server, "/metrics")
    types = {family.name: family.type for family in text_string_to_metric_families(text)}
    expected = {PREFIX + name.removesuffix("_total"): "counter" for name in COUNTERS}
    expected |= {PREFIX + name: "histogram" for name in HISTOGRAMS}
    expected |= {PREFIX + name: "gauge" for name in GAUGES}
    assert {name: types.get(name) for name in expected} == expected
    assert "_created" not in text


async def test_metrics_show_the_snapshot(server: AdminServer) -> None:
    _, text = await get(server, "/metrics")
    samples = {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for f in text_string_to_metric_families(text)
        for one in f.samples
    }

    def value(name: str, **labels: str) -> float:
        return samples[(PREFIX + name, tuple(sorted(labels.items())))]

    assert value("records_consumed_total", topic=TOPIC) == 10
    assert value("records_rejected_total", topic=TOPIC, reason="missing") == 1
    assert value("records_rejected_total", topic=TOPIC, reason="too_old") == 0
    assert value("unusual_values_total", topic=TOPIC, field="os_name") == 4
    assert (
        value(
            "contract_drifts_total",
            topic=TOPIC,
            event_name="purchase",
            field="colour",
            change="unknown",
        )
        == 1
    )
    assert value("http_requests_total", code="200") == 3
    assert value("http_request_duration_seconds_bucket", outcome="delivered", le="0.025") == 3
    assert value("delivery_latency_seconds_count") == 1
    assert value("consumer_lag_records", topic=TOPIC, partition="3") == 6
    assert value("records_behind_transaction", topic=TOPIC, partition="3") == 7
    assert value("consumer_assigned_partitions", topic=TOPIC) == 1
    assert value("consumer_paused") == 1
    assert value("application_held", application_id="1111", reason="http_403") == 1
    assert value("build_info", version="1.2.3") == 1
    assert value("log_messages_total", level="error") == 2
    assert value("log_messages_total", level="warning") == 0
    assert value("log_lines_dropped_total") == 7


async def test_status_is_json_for_people_and_machines(server: AdminServer) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{server.port}/status") as response,
    ):
        status = await response.json()
    assert status["partitions"][0]["lag_records"] == 6
    assert status["partitions"][0]["records_behind_transaction"] == 7
    assert status["partitions"][0]["end_age_seconds"] == 2.0
    assert status["holds"][0]["reason"] == "http_403"
    assert status["topics"][TOPIC]["dead_lettered"] == {"missing": 1}
    assert status["topics"][TOPIC]["unusual_values"] == {"os_name": 4}
    assert status["topics"][TOPIC]["drifts"] == [
        {"event_name": "purchase", "field": "colour", "change": "unknown", "records": 1}
    ]


# What no encoder, or no line, takes as it is; and more than any field should hold.
ODD = ["\ud800", "\udcff", "a\nb", 'a"b\\', "\x1b[31m", "\x00", "\r", "\u2028", "x" * 1_000_000]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd)[:10])
async def test_whatever_producers_call_their_fields_metrics_and_status_are_served(odd: str) -> None:
    strange = snapshot()
    strange.account.topics[TOPIC].remarks.drift(odd, odd, UNKNOWN)
    partition_errors = [{"detail": odd, "offset": 2**70, "share": float("nan"), odd: [odd]}]
    server = AdminServer(
        "127.0.0.1",
        0,
        registry(of=lambda: strange),
        lambda: {**status_of(strange, ENDS, 5.0), "partitions_in_trouble": partition_errors},
        lambda: None,
    )
    await server.start()
    try:
        status, text = await get(server, "/status")
        assert (status, len(json.loads(text)["topics"][TOPIC]["drifts"])) == (200, 2)
        status, text = await get(server, "/metrics")
        families = {one.name: one for one in text_string_to_metric_families(text)}
        assert (status, len(families[PREFIX + "contract_drifts"].samples)) == (200, 2)
    finally:
        await server.stop()


async def test_liveness_and_readiness_answer(server: AdminServer) -> None:
    assert await get(server, "/livez") == (200, "alive\n")
    assert await get(server, "/readyz") == (200, "ready\n")


async def test_a_worker_that_is_ready_may_have_something_to_say_besides() -> None:
    server = AdminServer(
        "127.0.0.1", 0, registry(), dict, lambda: None, lambda: "the local clock is doubted\n"
    )
    await server.start()
    assert await get(server, "/readyz") == (200, "ready\nthe local clock is doubted\n")
    await server.stop()


async def test_the_clock_stands_in_the_metrics_and_in_the_status(server: AdminServer) -> None:
    _, text = await get(server, "/metrics")
    values = {
        one.name: one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }
    assert (values[PREFIX + "clock_doubted"], values[PREFIX + "clock_ahead_seconds"]) == (
        1,
        1_296_000.5,
    )
    assert status_of(snapshot(), ENDS, 5.0)["clock"] == {
        "trust": "doubted",
        "seconds_ahead": 1_296_000.5,
    }


async def test_a_worker_that_is_not_ready_says_so() -> None:
    server = AdminServer("127.0.0.1", 0, registry(), dict, lambda: "it is stopping")
    await server.start()
    assert (await get(server, "/readyz"))[0] == 503
    assert (await get(server, "/livez"))[0] == 200
    await server.stop()


async def test_other_paths_and_methods_are_refused(server: AdminServer) -> None:
    assert (await get(server, "/nonsense"))[0] == 404
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"http://127.0.0.1:{server.port}/metrics") as response,
    ):
        assert response.status == 405


async def test_a_taken_port_is_told_with_what_to_do(server: AdminServer) -> None:
    second = AdminServer("127.0.0.1", server.port, registry(), dict, lambda: None)
    with pytest.raises(
        UnavailableError,
        match=rf"cannot listen on 127.0.0.1:{server.port} .* set admin.host or admin.port",
    ):
        await second.start()


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as sample:
        try:
            sample.bind(("::1", 0))
        except OSError:
            return False
        return True


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
async def test_the_default_host_serves_both_families(address: str) -> None:
    if address == "[::1]" and not has_ipv6():
        pytest.skip("no IPv6 on this machine; the next test is about such machines")
    host = Settings.model_validate(
        {"appmetrica": {"applications": {1111: {"post_api_key": "a-key-of-somebody"}}}}
    ).admin.host
    server = AdminServer(host, 0, registry(), dict, lambda: None)
    await server.start()
    try:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://{address}:{server.port}/livez") as response,
        ):
            assert response.status == 200
    finally:
        await server.stop()


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6_serves_ipv4(number: int) -> None:
    def create(address: tuple[str, int], *, family: int, **options: bool) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, "no IPv6")
        return socket.create_server(address, family=family, **options)

    with listen_everywhere(0, create) as listening:
        assert listening.getsockname()[0] == "0.0.0.0"


async def test_a_taken_port_is_told_for_every_address(server: AdminServer) -> None:
    second = AdminServer("::", server.port, registry(), dict, lambda: None)
    with pytest.raises(UnavailableError, match=rf"cannot listen on \[::\]:{server.port} "):
        await second.start()


def test_every_metric_of_the_code_is_in_the_operations_guide() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    documented = set(re.findall(r"`([a-z_]+)(?:\{[a-z_,]+\})?`", guide))
    missing = [name for name in (*COUNTERS, *HISTOGRAMS, *GAUGES) if name not in documented]
    assert missing == []
