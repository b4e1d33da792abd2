"""Record batches with a right checksum that can't be read stop their partition alone."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import make_value
from tests.e2e.stage import KEYS, Stage, peak_bytes
from tests.record_batches import CODECS, ZSTD, RawRecord, batch, publish_batch
from tests.source_reader import SourceReader, reading
from worker.core.model.event import OffsetsSkipped
from worker.edges.kafka.receiver import PollOptions
from worker.sandbox.emulator.server import Emulator, EmulatorOptions
from worker.sandbox.topics import create_topics, publish

MEGABYTE = 1024 * 1024
BOUND = 4 * MEGABYTE

UNREADABLE: dict[str, bytes] = {
    "a header's name that is not UTF-8": batch([RawRecord(b"v", ((b"\xff\xfe", b"x"),))]),
    **{
        f"a bomb of {name}": batch([RawRecord(bytes(BOUND + MEGABYTE))], codec)
        for name, codec in CODECS.items()
    },
}


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_unreadable_batch_stops_its_partition_alone(
    bootstrap_servers: str, new_topic: Callable[[str], str], raw: bytes
) -> None:
    topic = new_topic("unreadable")
    await create_topics(bootstrap_servers, {topic: 2})
    await publish(bootstrap_servers, topic, [(b"a", b"v")] * 10)
    await publish(bootstrap_servers, topic, [(b"d", b"v")] * 10)
    await publish_batch(bootstrap_servers, topic, raw)
    async with reading(SourceReader(bootstrap_servers, topic, batch_bytes_max=BOUND)) as reader:
        await reader.records(20)
        for _ in range(200):
            if reader.source.partition_errors():
                break
            await reader.inbox.get(asyncio.get_running_loop().time() + 0.05)
        ((damaged, detail),) = reader.source.partition_errors().items()
        assert damaged.partition == 0
        assert detail.startswith("CorruptRecordException")
        await publish(bootstrap_servers, topic, [(b"a", b"v")] * 10 + [(b"d", b"v")] * 10)
        assert damaged not in {one.topic_partition for one in await reader.records(10)}
    assert reader.source.rebuilds == 0


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_unreadable_batch_can_be_skipped_and_is_counted(
    bootstrap_servers: str, new_topic: Callable[[str], str], raw: bytes
) -> None:
    topic = new_topic("skipped")
    await create_topics(bootstrap_servers, {topic: 1})
    await publish_batch(bootstrap_servers, topic, raw)
    await publish(bootstrap_servers, topic, [(b"a", b"v")] * 10)
    options = PollOptions(100, skips_corrupt=True, stall_seconds=60)
    async with reading(
        SourceReader(bootstrap_servers, topic, poll=options, batch_bytes_max=BOUND)
    ) as reader:
        offsets = await reader.records(10)
        skipped = [event.count for event in reader.seen if isinstance(event, OffsetsSkipped)]
    assert (list(offsets.values()), skipped) == ([list(range(1, 11))], [1])


async def test_a_bomb_takes_no_memory_and_its_neighbours_are_delivered(
    bootstrap_servers: str,
    new_topic: Callable[[str], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    topic = new_topic("bomb")
    await create_topics(bootstrap_servers, {topic: 2, f"{topic}.dlq": 1})
    # 400 MB in 12 KB.
    await publish_batch(
        bootstrap_servers, topic, batch([RawRecord(bytes(400 * MEGABYTE))], ZSTD), partition=0
    )
    async with Emulator(EmulatorOptions(keys=KEYS)) as emulator:
        stage = Stage(bootstrap_servers, topic, emulator, tmp_path)
        worker = await stage.start_worker({"limits": {"memory_bytes_max": 64 * MEGABYTE}})
        try:
            for _ in range(200):
                if (await worker.status())["partitions_in_trouble"]:
                    break
                await asyncio.sleep(0.05)
            before = peak_bytes(worker.pid)
            await publish_batch(
                bootstrap_servers,
                topic,
                batch([RawRecord(make_value(event_timestamp=int(time.time())))]),
                partition=1,
            )
            await stage.await_rows(1)
            status = await worker.status()
            (problem,) = status["partitions_in_trouble"]
            assert (problem["partition"], "kafka.batch_bytes_max" in problem["detail"]) == (0, True)
            with capsys.disabled():
                sys.stdout.write(f"\n  a bomb of 400 MB: resident at most {before >> 20} MiB\n")
            assert peak_bytes(worker.pid) <= 160 * MEGABYTE
        finally:
            worker.kill()
