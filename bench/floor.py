"""The floor: aiokafka alone, reading the topic in chunks of 1,000 and doing nothing with them.

Run as a process of its own: `python -m bench.floor BOOTSTRAP_SERVERS TOPIC COUNT`. Prints its
figures as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.process_figures import peak_bytes


async def consume(bootstrap_servers: str, topic: str, count: int) -> dict[str, float]:
    """Read this many records; seconds of wall and CPU from the first poll on."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=1_048_576,
        fetch_max_bytes=16_777_216,
    )
    await consumer.start()
    found = consumer.partitions_for_topic(topic) or await consumer._client._wait_on_metadata(topic)
    partitions = [TopicPartition(topic, number) for number in sorted(found)]
    consumer.assign(partitions)
    received = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while received < count:
        before = received
        for partition in partitions:
            chunks = await consumer.getmany(partition, timeout_ms=0, max_records=1000)
            received += len(chunks.get(partition, ()))
        if received == before:
            await asyncio.sleep(0.002)
    figures = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    await consumer.stop()
    return figures | {"peak_bytes": peak_bytes(os.getpid())}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(consume(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
