"""Fills a topic with librdkafka: some µs for a record.

python -m bench.producer BOOTSTRAP_SERVERS TOPIC SHAPE COUNT
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from confluent_kafka import Producer

from bench.events import SHAPES, USERS, Shape, events
from bench.publishing import PUBLISH_SECONDS_MAX, Records

# How often records that are paced are sent, per second.
STEPS_PER_SECOND = 100
# How many records a producer holds, and after how many it looks for acknowledgements.
QUEUE_RECORDS_MAX, POLL_RECORDS = 1_000_000, 1_000


def _values(shape: Shape, records: Records) -> Iterator[bytes]:
    now = int(time.time())
    if not records.distinct:
        yield from events(shape, records.count, now=now)
        return
    for start_at in range(0, records.count, records.distinct):
        yield from events(shape, min(records.distinct, records.count - start_at), now=now)


def _paced(shape: Shape, records: Records) -> Iterator[bytes]:
    """One event at its time, by its number."""
    started = time.time()
    for number in range(records.count):
        due = started + number / records.per_second
        if number % max(1, records.per_second // STEPS_PER_SECOND) == 0:
            time.sleep(max(0.0, due - time.time()))
        now = time.time()
        yield from events(shape, 1, now=int(started), first=int(now * 1e6))


def _produce(producer: Producer, topic: str, records: Records) -> None:
    shape = SHAPES[records.shape]
    made = _paced(shape, records) if records.per_second else _values(shape, records)
    for number, value in enumerate(made):
        headers: dict[str, str | bytes | None] = {}
        if records.has_headers:
            headers["event-id"] = b"%d" % number
        key = b"%d" % (number % USERS)
        while True:
            try:
                producer.produce(topic, value, key, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
        if number % POLL_RECORDS == 0 or records.per_second:
            producer.poll(0)
    if producer.flush(PUBLISH_SECONDS_MAX):
        raise SystemExit("records were not acknowledged")


def main() -> None:
    """Publish."""
    parser = argparse.ArgumentParser(prog="python -m bench.producer", description=__doc__)
    parser.add_argument("bootstrap_servers")
    parser.add_argument("topic")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("count", type=int)
    parser.add_argument("--compression", default="lz4")
    parser.add_argument("--distinct", type=int, default=0)
    parser.add_argument("--per-second", type=int, default=0)
    parser.add_argument("--headers", action="store_true")
    options = parser.parse_args()
    records = Records(
        options.shape,
        options.count,
        options.compression,
        options.distinct,
        options.headers,
        options.per_second,
    )
    producer = Producer(
        {
            "bootstrap.servers": options.bootstrap_servers,
            "compression.type": records.compression,
            "linger.ms": 2 if records.per_second else 50,
            "batch.size": 131_072,
            "queue.buffering.max.messages": QUEUE_RECORDS_MAX,
            "acks": "all",
        }
    )
    _produce(producer, options.topic, records)


if __name__ == "__main__":
    main()
