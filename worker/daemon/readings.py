"""What the worker shows of itself: readings for scrapes and `/status`, readiness, forecasts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from worker import __version__
from worker.core.counters.forecast import OBSERVE_SECONDS, Forecaster, observation_of
from worker.core.counters.history import History
from worker.core.model.clock import Now
from worker.daemon.assembly import Parts
from worker.edges.container_memory import memory_limit_bytes
from worker.edges.telemetry.event_loop import LoopLag
from worker.edges.telemetry.log_filters import RecentLogs
from worker.edges.telemetry.reading import Reading, SpanCounts, WorkerInfo
from worker.settings.schema import Settings


class Readings:
    """Takes readings of a running worker, and remembers those of the latest minutes.

    Args:
        parts: what is read.
        info: what never changes.
        forecaster: forecasts from what it observes.
        logs: the latest lines of the log.
        clock: reads both times.
        stop_deadline: the end of the drain, in Unix seconds; None while the worker isn't stopping.
    """

    def __init__(
        self,
        parts: Parts,
        info: WorkerInfo,
        forecaster: Forecaster,
        logs: RecentLogs,
        clock: Callable[[], Now],
        stop_deadline: Callable[[], float | None],
    ) -> None:
        self._parts = parts
        self._info = info
        self._forecaster = forecaster
        self._logs = logs
        self._clock = clock
        self._stop_deadline = stop_deadline
        self.loop_lag = LoopLag()
        self._history = History(clock().monotonic_seconds)

    async def run(self) -> None:
        """Observe the worker for forecasts and for the history, until cancelled."""
        while True:
            await asyncio.sleep(OBSERVE_SECONDS)
            reading = self.read()
            self._history.observe(reading.history_point())
            observation = observation_of(reading.snapshot, reading.ends, reading.monotonic_seconds)
            if observation is not None:
                self._forecaster.observe(observation)

    def read(self) -> Reading:
        """Take a reading for a scrape or for `/status`."""
        now = self._clock()
        source, snapshot = self._parts.source, self._parts.pipeline.snapshot(now)
        oldest = snapshot.oldest_event_timestamp
        return Reading(
            info=self._info,
            unix_seconds=now.unix_seconds,
            monotonic_seconds=now.monotonic_seconds,
            snapshot=snapshot,
            ends=source.ends(),
            partition_errors=source.partition_errors(),
            consumer_rebuilds=source.rebuilds,
            key_files_unusable=self._parts.keys.unusable_files,
            not_ready_because=self.unready(),
            forecast=self._forecaster.forecast(
                None if oldest is None else max(0.0, now.unix_seconds - oldest)
            ),
            logs=self._logs,
            loop_lag_seconds=self.loop_lag.histogram,
            history=self._history,
            stop_deadline_unix_seconds=self._stop_deadline(),
            spans=SpanCounts()
            if self._parts.tracing is None
            else self._parts.tracing.export.counts(),
        )

    def unready(self) -> str | None:
        """Return why this worker isn't ready.

        None while it is a member of its group, with or without partitions, and not stopping.
        """
        return (
            "it is stopping"
            if self._stop_deadline() is not None
            else self._parts.source.membership.unready_reason()
        )

    def remark(self) -> str:
        """Return the line that `/readyz` adds to "ready".

        A doubted clock is no reason to restart the worker, but it must be easy to find.
        """
        clock = self._parts.pipeline.clock.status(self._clock())
        if clock.trust != "doubted":
            return ""
        ahead = clock.seconds_ahead
        where = (
            "behind the records'"
            if ahead is None
            else f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the API's"
        )
        return f"the local clock is doubted: {where}; nothing is received until they agree\n"


def worker_info(settings: Settings, config_hash: str, started_unix_seconds: float) -> WorkerInfo:
    """Return what never changes while the process runs."""
    routes = settings.resolved_routes()
    return WorkerInfo(
        version=__version__,
        config_hash=config_hash,
        topics=tuple(route.topic for route in routes),
        parking_topics={
            route.topic: route.parking_topic for route in routes if route.parking_topic is not None
        },
        buffer_bytes_max=settings.limits.memory_bytes_max,
        container_bytes_max=memory_limit_bytes(),
        host=socket.gethostname(),
        group_id=settings.kafka.group_id,
        started_unix_seconds=round(started_unix_seconds, 3),
        applications=tuple(settings.appmetrica.applications),
        span_records_max=settings.limits.span_records_max,
    )
