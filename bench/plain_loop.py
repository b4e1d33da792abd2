"""The peer: the same job as a good engineer writes it in an afternoon, without guarantees.

    python -m bench.plain_loop BOOTSTRAP_SERVERS TOPIC GROUP_ID BASE_URL

It polls with librdkafka, parses with orjson, checks what the API requires, writes CSV with `csv`
and posts with requests. It doesn't deduplicate, doesn't explain what is wrong with an event, and
commits whether or not the API has accepted the rows.
"""

from __future__ import annotations

import csv
import io
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
import requests
from confluent_kafka import Consumer

COLUMNS = (
    "event_name event_timestamp event_json session_type ios_ifa ios_ifv google_aid windows_aid "
    "os_name os_version device_manufacturer device_model device_type device_locale "
    "app_version_name app_package_name connection_type operator_name mcc mnc device_ipv6"
).split()
IDENTITIES = ("profile_id", "appmetrica_device_id")
KNOWN = {"application_id", *IDENTITIES, *COLUMNS}
ROWS_MAX = 5_000
LINGER_SECONDS = 1.0
AGE_SECONDS_MAX = 14 * 86_400
Destination = tuple[int, str]


@dataclass
class Batch:
    """The rows of one application and identity, as CSV."""

    destination: Destination
    rows: int = 0
    opened: float = field(default_factory=time.monotonic)
    text: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        _, identity = self.destination
        self.writer = csv.writer(self.text, lineterminator="\n")
        self.writer.writerow(["application_id", identity, *COLUMNS])


def row_of(value: bytes | None, now: float) -> tuple[Destination, list[Any]]:
    """The destination and the cells of an event.

    Raises:
        ValueError: the event is not valid.
    """
    event = orjson.loads(value or b"")
    if not isinstance(event, dict) or not event.keys() <= KNOWN:
        raise ValueError("an unknown field")
    identities = [name for name in IDENTITIES if event.get(name)]
    if len(identities) != 1 or not event.get("event_name"):
        raise ValueError("a field is missing")
    if not now - AGE_SECONDS_MAX < int(event["event_timestamp"]) < now + 86_400:
        raise ValueError("too old")
    details = event.get("event_json")
    if details is not None and not isinstance(details, str):
        event["event_json"] = orjson.dumps(details).decode()
    destination = int(event["application_id"]), identities[0]
    get = event.get
    return destination, [destination[0], get(identities[0]), *[get(name, "") for name in COLUMNS]]


class Loop:
    """Polls, gathers, posts."""

    def __init__(self, base_url: str) -> None:
        self._url = f"{base_url}/logs/v1/import/events.csv"
        self._session = requests.Session()
        self._open: dict[Destination, Batch] = {}
        self.is_stopping = False

    def run(self, consumer: Consumer) -> None:
        """Run until a signal."""
        while not self.is_stopping:
            messages = consumer.consume(1000, timeout=0.1)
            now = time.time()
            for message in messages:
                try:
                    destination, cells = row_of(message.value(), now)
                except (ValueError, TypeError, KeyError) as error:
                    print("invalid:", error)
                    continue
                batch = self._open.get(destination)
                if batch is None:
                    batch = self._open[destination] = Batch(destination)
                batch.writer.writerow(cells)
                batch.rows += 1
                if batch.rows >= ROWS_MAX:
                    self._post(batch)
            for batch in list(self._open.values()):
                if time.monotonic() - batch.opened > LINGER_SECONDS:
                    self._post(batch)

    def _post(self, batch: Batch) -> None:
        del self._open[batch.destination]
        self._session.post(
            self._url,
            params={"post_api_key": f"bench-key-{batch.destination[0]}"},
            data=batch.text.getvalue().encode(),
            headers={"Content-Type": "text/csv; charset=utf-8"},
            timeout=30,
        ).raise_for_status()


def main() -> None:
    """Run until SIGTERM."""
    bootstrap_servers, topic, group_id, base_url = sys.argv[1:]
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group_id,
            "auto.offset.reset": "earliest",
        }
    )
    loop = Loop(base_url)

    def stop(*_: object) -> None:
        loop.is_stopping = True

    signal.signal(signal.SIGTERM, stop)
    consumer.subscribe([topic], on_assign=lambda *_: print("partitions_assigned", flush=True))
    loop.run(consumer)
    consumer.close()


if __name__ == "__main__":
    main()
