"""What a stuck worker is doing: stacks, the last events of the pipeline, and each partition.

For `/debug/stacks`, for SIGQUIT, for a consumer that is replaced, and for a blocked event loop.
Nothing here holds a payload or a key: see `event_loop` and `Trail`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from worker.core.counters.trail import Trail
from worker.edges.telemetry.event_loop import dump_tasks, dump_threads
from worker.edges.telemetry.log_filters import DIAGNOSTICS
from worker.edges.telemetry.reading import PartitionReading, Reading
from worker.edges.telemetry.status_objects import PARTITION, object_of

logger = logging.getLogger(DIAGNOSTICS)

PARTITIONS_MAX = 500
# Of a list in one log line; a longer list continues in the next line.
ITEMS_MAX = 50

_LINES = {
    "threads": "diagnostics_threads",
    "tasks": "diagnostics_tasks",
    "events": "diagnostics_events",
    "partitions": "diagnostics_partitions",
}


class Diagnostics:
    """Shows what the worker is doing. Methods for another thread have that in their name.

    Args:
        trail: the last events and commands.
        read: takes a reading.
    """

    def __init__(self, trail: Trail, read: Callable[[], Reading]) -> None:
        self._trail = trail
        self._read = read

    def document(self) -> dict[str, Sequence[object]]:
        """Return everything: the answer of `/debug/stacks`."""
        return {"threads": dump_threads(), **self._of_the_loop()}

    def write(self, cause: str) -> None:
        """Write everything to the log; `cause` says why."""
        _write("threads", dump_threads(), cause)
        self._write_loop(cause)

    def write_from_thread(self, loop: asyncio.AbstractEventLoop, cause: str) -> None:
        """Write everything to the log from another thread.

        A blocked event loop writes nothing, but the stacks of the threads show where it is blocked.
        """
        _write("threads", dump_threads(), cause)
        loop.call_soon_threadsafe(self._write_loop, cause)

    def report_blockade(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Write from another thread that the loop doesn't turn, and what it is doing."""
        logger.warning("event_loop_blocked", extra={"seconds": round(seconds, 1)})
        self.write_from_thread(loop, "the event loop is blocked")

    def _write_loop(self, cause: str) -> None:
        for name, items in self._of_the_loop().items():
            _write(name, items, cause)

    def _of_the_loop(self) -> dict[str, Sequence[object]]:
        partitions = sorted(self._read().partitions, key=_rank)[:PARTITIONS_MAX]
        return {
            "tasks": dump_tasks(),
            "events": self._trail.steps(),
            "partitions": [object_of(PARTITION, one) for one in partitions],
        }


def _rank(partition: PartitionReading) -> tuple[bool, int]:
    """Order partitions: those that drain first, then those with the most unsettled records."""
    return not partition.status.is_draining, -partition.status.unsettled


def _write(name: str, items: Sequence[object], cause: str) -> None:
    # An empty list is a line too: it says that there are none.
    for start in range(0, max(1, len(items)), ITEMS_MAX):
        fields = {"cause": cause, "count": len(items), name: items[start : start + ITEMS_MAX]}
        logger.info(_LINES[name], extra=fields)
