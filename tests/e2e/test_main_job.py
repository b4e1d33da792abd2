"""The main job end to end: real Kafka, sockets and worker processes, an independent account."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from tests.e2e.stage import KEYS, SETTLE_SECONDS_MAX, Stage, mixed, on_stage
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.reconciliation import event_number
from worker.sandbox.topics import create_topics, read_all, started

FAILURES = 12


@pytest.fixture
async def stage(
    bootstrap_servers: str, new_topic: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Stage]:
    async with on_stage(bootstrap_servers, new_topic("e2e"), tmp_path) as stage:
        yield stage


async def test_mixed_records_end_exactly_where_they_should(stage: Stage) -> None:
    await stage.publish(mixed(20_000))
    worker = await stage.start_worker()
    await stage.await_settled()
    reconciliation = await stage.reconcile(await stage.duplicates_dropped())
    assert reconciliation.faults == ()
    assert reconciliation.duplicates_dropped == sum(
        sample.is_duplicate for sample in stage.produced
    )
    worker.send(signal.SIGTERM)
    assert await worker.wait(45.0) == 0

    # What arrived is what was sent, cell by cell; compared with the producer's JSON, not with
    # anything the worker knows.
    sent = {
        sample.identifier: sample.value for sample in stage.produced if not sample.dead_lettered_as
    }
    for row in stage.emulator.ledger.rows:
        cells = {name: cell for name, cell in zip(row.columns, row.cells, strict=True) if cell}
        value = sent[event_number(row)]
        event = orjson.loads(value)
        text = event.pop("event_json")
        assert cells.pop("event_json") == (
            text if isinstance(text, str) else orjson.dumps(text).decode()
        )
        assert cells == {name: str(field) for name, field in event.items()}


async def test_an_outage_loses_and_repeats_nothing(stage: Stage) -> None:
    await stage.publish(mixed(5_000))
    # By requests, about ten seconds of backoff: an outage of so many seconds may be over before
    # the worker has started.
    stage.emulator.plan(PlannedFault(FaultKind.STATUS, status=503, count=FAILURES))
    await stage.start_worker({"delivery": {"backoff_max_seconds": 2}})
    await stage.await_settled()
    reconciliation = await stage.reconcile(await stage.duplicates_dropped())
    assert reconciliation.faults == ()
    assert stage.emulator.ledger.summary()["requests_by_answer"]["503"] == FAILURES  # type: ignore[index]


async def test_a_worker_killed_in_full_flight_loses_nothing(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    await stage.publish(mixed(30_000, has_refused=False))
    stage.emulator.plan(PlannedFault(FaultKind.DELAY, delay_seconds=0.05))
    first = await stage.start_worker()
    await stage.await_rows(15_000)
    first.kill()
    delivered_before = stage.emulator.ledger.rows_total
    rate = delivered_before / (time.time() - stage.emulator.ledger.requests[0].unix_seconds)
    await stage.start_worker()
    await stage.await_settled()

    arrivals = [event_number(row) for row in stage.emulator.ledger.rows]
    expected = {sample.identifier for sample in stage.produced if not sample.dead_lettered_as}
    twice = len(arrivals) - len(set(arrivals))
    # rate × commit interval + requests in flight × rows per batch; the rate from the first answer
    # to the kill.
    bound = round(rate * 1.0) + 8 * 500
    with capsys.disabled():
        sys.stdout.write(
            f"\n  killed after {delivered_before:,} rows: {twice:,} delivered twice, bound "
            f"{bound:,}\n"
        )
    assert expected - set(arrivals) == set()
    assert twice <= bound
    # Every rejected record has its dead letter; one that was written but not committed may have a
    # second.
    dead_lettered = {
        record.key for record in await read_all(stage.bootstrap_servers, stage.dead_letter_topic)
    }
    assert {sample.key for sample in stage.produced if sample.dead_lettered_as} == dead_lettered


async def test_a_worker_that_crashed_takes_its_partitions_back_without_waiting_for_its_session(
    stage: Stage, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    # Without the takeover the new worker waits until the dead worker's session ends: longer than
    # `await_rows` waits.
    session = {"session_timeout_seconds": round(2 * SETTLE_SECONDS_MAX)}
    overrides = {"kafka": session, "state_dir": str(state)}
    await stage.publish(mixed(2_000, has_refused=False))
    first = await stage.start_worker(overrides)
    await stage.await_settled()
    first.kill()
    more = mixed(1_000, seed=2, has_refused=False)
    delivered_before = stage.emulator.ledger.rows_total
    await stage.publish(more)
    await stage.start_worker(overrides)
    await stage.await_rows(delivered_before + 1)
    await stage.await_settled()


async def test_a_join_and_a_leave_lose_and_repeat_nothing(stage: Stage) -> None:
    produced = mixed(40_000, has_refused=False)
    stage.emulator.plan(PlannedFault(FaultKind.DELAY, delay_seconds=0.02))
    await stage.publish(produced[:15_000])
    first = await stage.start_worker()
    await stage.await_rows(3_000)
    second = await stage.start_worker()
    await stage.publish(produced[15_000:])
    await stage.await_rows(20_000)
    first.send(signal.SIGTERM)
    assert await first.wait(45.0) == 0
    await stage.await_settled()
    assert (await second.status())["topics"][stage.topic]["delivered"] > 0

    arrivals = [event_number(row) for row in stage.emulator.ledger.rows]
    expected = {sample.identifier for sample in stage.produced if not sample.dead_lettered_as}
    assert expected - set(arrivals) == set()
    # A producer's own duplicates may have gone to different workers; what a handover repeats comes
    # on top of those.
    assert handed_over_twice(stage) == 0


def handed_over_twice(stage: Stage) -> int:
    """How many rows arrived more often than records of theirs were published."""
    published: dict[int, int] = {}
    for sample in stage.produced:
        if not sample.dead_lettered_as:
            published[sample.identifier] = published.get(sample.identifier, 0) + 1
    arrived: dict[int, int] = {}
    for row in stage.emulator.ledger.rows:
        number = event_number(row)
        arrived[number] = arrived.get(number, 0) + 1
    return sum(max(0, count - published[number]) for number, count in arrived.items())


async def test_a_stop_while_the_api_is_down_ends_in_time_and_loses_nothing(stage: Stage) -> None:
    await stage.publish(mixed(3_000, has_refused=False))
    stage.emulator.plan(PlannedFault(FaultKind.STATUS, status=503))
    worker = await stage.start_worker({"shutdown": {"drain_seconds": 15}})
    await stage.emulator.ledger.wait_for(lambda ledger: ledger.requests_total >= 5, 30.0)
    worker.send(signal.SIGTERM)
    assert await worker.wait(20.0) == 75
    assert "stop_deadline_passed" not in worker.log_file.read_text()
    assert stage.emulator.ledger.rows_total == 0
    stage.emulator.plan()
    await stage.start_worker()
    await stage.await_settled()
    arrivals = {event_number(row) for row in stage.emulator.ledger.rows}
    assert arrivals == {
        sample.identifier for sample in stage.produced if not sample.dead_lettered_as
    }


async def test_a_wrong_key_holds_one_application_and_heals_when_it_is_put_right(
    stage: Stage,
) -> None:
    await stage.publish(mixed(6_000, has_refused=False))
    stage.emulator.set_keys({1111: KEYS[1111]})
    worker = await stage.start_worker({"delivery": {"hold_probe_seconds": 1}})
    of_first = {
        sample.identifier
        for sample in stage.produced
        if not sample.dead_lettered_as and orjson.loads(sample.value)["application_id"] == 1111
    }
    await stage.await_rows(len(of_first))
    status = await worker.status()
    assert [(hold["application_id"], hold["reason"]) for hold in status["holds"]] == [
        (2222, "http_403")
    ]
    assert (
        'appmetrica_worker_application_held{application_id="2222",reason="http_403"} 1.0'
        in await worker.metrics()
    )
    assert {event_number(row) for row in stage.emulator.ledger.rows} == of_first
    stage.emulator.set_keys(KEYS)
    await stage.await_settled()
    assert (await stage.reconcile(await stage.duplicates_dropped())).faults == ()
    assert (await worker.status())["holds"] == []


async def test_a_second_signal_ends_the_worker_at_once(stage: Stage) -> None:
    await stage.publish(mixed(2_000))
    stage.emulator.plan(PlannedFault(FaultKind.DELAY, delay_seconds=20.0))
    worker = await stage.start_worker()
    await asyncio.sleep(0)
    for _ in range(100):
        if (await worker.status())["destination"]["requests_in_flight"] > 0:
            break
        await asyncio.sleep(0.1)
    # As `timeout` sends it, to the process and to its group: what follows within half a second is
    # the same stop.
    worker.send(signal.SIGTERM)
    await asyncio.sleep(0.01)
    worker.send(signal.SIGTERM)
    await asyncio.sleep(0.6)
    log = worker.log_file.read_text()
    assert ('"stopping"' in log, "stopped_at_once" in log) == (True, False)
    worker.send(signal.SIGTERM)
    assert await worker.wait(3.0) == 75


async def test_a_held_application_is_parked_its_neighbour_flows_and_all_are_delivered(
    stage: Stage,
) -> None:
    await create_topics(stage.bootstrap_servers, {f"{stage.topic}.parked": 2})
    stage.emulator.set_keys({1111: KEYS[1111]})
    worker = await stage.start_worker(
        {
            "delivery": {"hold_probe_seconds": 1},
            "limits": {"span_records_max": 500},
            "batching": {"rows_max": 200},
        }
    )
    await stage.publish(mixed(12_000, has_refused=False))
    of_first = {
        sample.identifier
        for sample in stage.produced
        if not sample.dead_lettered_as and orjson.loads(sample.value)["application_id"] == 1111
    }
    # A tenth of the records is held: without parking each partition would stop after 500 records.
    await stage.await_rows(len(of_first))
    assert {event_number(row) for row in stage.emulator.ledger.rows} == of_first
    status = await worker.status()
    assert [(hold["application_id"], hold["is_parking"]) for hold in status["holds"]] == [
        (2222, True)
    ]
    assert status["topics"][stage.topic]["parked"] > 500
    assert re.search(
        rf'appmetrica_worker_records_parked{{topic="{stage.topic}"}} [1-9]', await worker.metrics()
    )
    stage.emulator.set_keys(KEYS)
    await stage.await_settled()
    await stage.await_settled(f"{stage.topic}.parked")
    reconciliation = await stage.reconcile(await stage.duplicates_dropped())
    parked = (await worker.status())["topics"][stage.topic]["parked"]
    # The one figure that is the worker's own: a record that was parked was consumed twice, and
    # settled once at home.
    assert reconciliation.faults == (), parked
    worker.send(signal.SIGTERM)
    assert await worker.wait(45.0) == 0


async def test_what_is_not_selected_is_skipped_and_counted_and_values_are_framed(
    stage: Stage,
) -> None:
    def framed(number: int, kind: str) -> bytes:
        event = {
            "application_id": 1111,
            "profile_id": f"user-{number}",
            "event_name": "film_watched",
            "event_timestamp": int(time.time()) - 60,
            "event_json": {"event_number": number},
        }
        envelope = {"kind": kind, "payload": orjson.dumps(event).decode()}
        # Confluent's magic byte and schema id.
        return b"\0\0\0\0\7" + orjson.dumps(envelope)

    kinds = ["events" if number % 3 else "stock_changed" for number in range(3000)]
    values: list[bytes | None] = [framed(number, kind) for number, kind in enumerate(kinds)]
    values += [None] * 50 + [b"no envelope"] * 7
    await publish_values(stage.bootstrap_servers, stage.topic, values)
    route = {
        "topic": stage.topic,
        "framing": "confluent",
        "form": "envelope",
        "envelope": {"type_field": "kind", "data_field": "payload"},
        "select": {"$.kind": ["events"]},
        "tombstones": "skip",
    }
    worker = await stage.start_worker({"routes": [route]})
    await stage.await_settled()
    account = (await worker.status())["topics"][stage.topic]
    assert account["skipped"] == {"not_selected": 1000, "tombstone": 50}
    assert (account["delivered"], account["dead_lettered"]) == (2000, {"not_json": 7})
    assert {event_number(row) for row in stage.emulator.ledger.rows} == {
        number for number, kind in enumerate(kinds) if kind == "events"
    }
    assert re.search(
        rf'records_skipped_total{{reason="not_selected",topic="{stage.topic}"}} 1000',
        await worker.metrics(),
    )


async def publish_values(
    bootstrap_servers: str, topic: str, values: Iterable[bytes | None]
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", linger_ms=10)
    async with started(producer):
        sent = [
            await producer.send(topic, key=b"%d" % number, value=value)
            for number, value in enumerate(values)
        ]
        await asyncio.gather(*sent)
