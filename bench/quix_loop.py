"""The peer of a framework: the same job with Quix Streams, at least once.

    python -m bench.quix_loop BOOTSTRAP_SERVERS TOPIC GROUP_ID BASE_URL

It shares the rules with the plain loop; batching, retries and commits are the framework's.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import requests
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from bench.plain_loop import ROWS_MAX, Batch, Destination, row_of


class PostApiSink(BatchingSink):  # type: ignore[misc]
    """Posts the rows of a batch, a request for each destination."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._url = f"{base_url}/logs/v1/import/events.csv"
        self._session = requests.Session()

    def write(self, batch: SinkBatch) -> None:
        """Post everything; the framework commits afterwards."""
        gathered: dict[Destination, Batch] = {}
        for item in batch:
            destination, cells = item.value
            if destination not in gathered:
                gathered[destination] = Batch(destination)
            gathered[destination].writer.writerow(cells)
        for (application, _), one in gathered.items():
            self._session.post(
                self._url,
                params={"post_api_key": f"bench-key-{application}"},
                data=one.text.getvalue().encode(),
                headers={"Content-Type": "text/csv; charset=utf-8"},
                timeout=30,
            ).raise_for_status()


def read(value: bytes) -> tuple[Destination, list[Any]] | None:
    """The row of an event; None if it isn't valid."""
    try:
        return row_of(value, time.time())
    except (ValueError, TypeError, KeyError):
        return None


def main() -> None:
    """Run until SIGTERM."""
    bootstrap_servers, topic_name, group_id, base_url = sys.argv[1:]
    application = Application(
        broker_address=bootstrap_servers,
        consumer_group=group_id,
        auto_offset_reset="earliest",
        processing_guarantee="at-least-once",
        commit_every=ROWS_MAX * 5,
        commit_interval=1.0,
        use_changelog_topics=False,
    )
    topic = application.topic(topic_name, value_deserializer="bytes", key_deserializer="bytes")
    rows = application.dataframe(topic).apply(read).filter(lambda row: row is not None)
    rows.sink(PostApiSink(base_url))
    print("partitions_assigned", flush=True)
    application.run()


if __name__ == "__main__":
    main()
