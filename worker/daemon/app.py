"""The daemon: starts everything in order, and stops it in order, under one deadline."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry

from worker import __version__
from worker.core.model.clock import Now
from worker.core.model.command import Finish
from worker.core.model.event import StopRequested
from worker.daemon.assembly import Parts, assemble
from worker.daemon.runner import Edges, Runner
from worker.daemon.signals import Signals
from worker.edges.kafka.aiokafka_internals import expected_names
from worker.edges.kafka.instance import Instance, claim, take_over
from worker.edges.telemetry.admin_server import AdminServer, status_of
from worker.edges.telemetry.logs import RecentLogs
from worker.edges.telemetry.loop_lag import LoopLag
from worker.edges.telemetry.metrics import Identification, Readings, WorkerCollector
from worker.errors import ExitCode, WorkerError
from worker.settings.schema import Settings
from worker.supervision import supervise

logger = logging.getLogger("worker.app")

# What is left of the stop's time for the last commit, leaving the group and closing, once draining
# is over.
CLOSING_SECONDS_MAX = 5.0
# If it takes longer, the predecessor's session is waited out.
TAKE_OVER_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Process:
    """What the daemon takes from its surroundings."""

    settings: Settings
    config_hash: str
    journal: RecentLogs
    signals: Signals


def read_clock() -> Now:
    """Both times, now. The monotonic one is the event loop's."""
    return Now(asyncio.get_running_loop().time(), time.time())


async def run(process: Process) -> ExitCode:
    """Run until a signal asks to stop; returns the process's exit code.

    Raises:
        WorkerError: something the worker can't do without isn't to be had.
    """
    expected_names.check()
    with process.signals:
        instance = claim(process.settings.state_dir)
        try:
            daemon = _Daemon(
                assemble(process.settings, instance.id, process.journal.learn_secret),
                process,
                instance,
            )
            exit_code = await daemon.run()
        except ExceptionGroup as group:
            explained, _ = group.split(WorkerError)
            if explained is None:
                raise
            raise _first(explained) from None
        finally:
            # The consumer has left the group: another process may be this instance now.
            instance.release()
        process.signals.ends_with(exit_code)
        return exit_code


class _Daemon:
    """One run from start to stop."""

    def __init__(self, parts: Parts, process: Process, instance: Instance) -> None:
        self._parts = parts
        self._instance = instance
        self._settings = process.settings
        self._journal = process.journal
        self._signals = process.signals
        self._loop_lag = LoopLag()
        self._is_stopping = False
        registry = CollectorRegistry()
        for collector in (
            PROCESS_COLLECTOR,
            PLATFORM_COLLECTOR,
            GC_COLLECTOR,
            self._collector(process),
        ):
            registry.register(collector)
        admin = process.settings.admin
        self._admin = AdminServer(
            admin.host, admin.port, registry, self._status, self._unready, self._remark
        )

    async def run(self) -> ExitCode:
        """Start, run, stop: each step in order, with its reason."""
        parts = self._parts
        loop = asyncio.get_running_loop()
        self._signals.hand_over(
            lambda number: loop.call_soon_threadsafe(self._stop, number),
            self._settings.shutdown.drain_seconds,
        )
        # The admin port first: liveness must answer while the brokers can't be reached yet.
        await self._admin.start()
        try:
            async with parts.sink, asyncio.TaskGroup() as tasks:
                logger.info(
                    "started", extra={"version": __version__, "admin_port": self._admin.port}
                )
                # What exists now stays: the collector needs not look at it again and again.
                gc.collect()
                gc.freeze()
                gc.set_threshold(50_000, 20, 100)
                background = [
                    tasks.create_task(supervise(name, work), name=name)
                    for name, work in (
                        ("kafka source", self._consume),
                        ("missing topics", parts.source.watch_topics),
                        ("ends of partitions", parts.source.watch_ends),
                        ("dead letters", parts.dead_letters.run),
                        ("parking", parts.parking.run),
                        ("keys", parts.keys.run),
                        ("loop lag", self._loop_lag.run),
                    )
                ]
                edges = Edges(parts.source, parts.sink, parts.dead_letters, parts.parking)
                runner = Runner(parts.pipeline, parts.inbox, edges, read_clock)
                finish = await runner.run()
                for task in background:
                    task.cancel()
            # The last commit is made: leave the group, so that the others need not wait out our
            # session.
            await asyncio.gather(
                self._close("kafka source", parts.source.close),
                parts.dead_letters.close(),
                parts.parking.close(),
            )
        finally:
            # The admin port last: a scrape sees the end.
            await self._admin.stop()
        return self._ended(finish)

    async def _consume(self) -> None:
        """Before the group is joined, members of it that have our name leave it: only a dead
        predecessor can have it.
        """
        if self._instance.is_inherited:
            connection, group_id = self._parts.connection, self._settings.kafka.group_id
            await take_over(connection, group_id, connection.client_id, TAKE_OVER_SECONDS_MAX)
        await self._parts.source.run()

    def _stop(self, number: signal.Signals) -> None:
        """Drain.

        What `signals` does at a second signal, and at the deadline, needs no event loop.
        """
        self._is_stopping = True
        drain_seconds = self._settings.shutdown.drain_seconds
        reserve = min(CLOSING_SECONDS_MAX, drain_seconds / 4)
        logger.info("stopping", extra={"signal": number.name, "drain_seconds": drain_seconds})
        self._parts.inbox.post(
            StopRequested(asyncio.get_running_loop().time() + drain_seconds - reserve)
        )

    async def _close(self, name: str, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Close what may hang when brokers are down, in a task of its own: aiokafka's stop may
        raise CancelledError.
        """
        task = asyncio.ensure_future(close())
        done, _ = await asyncio.wait([task], timeout=CLOSING_SECONDS_MAX)
        if not done:
            task.cancel()
            logger.warning("close_timed_out", extra={"part": name})
        elif task.cancelled() or task.exception() is not None:
            logger.warning("close_failed", extra={"part": name})

    def _ended(self, finish: Finish) -> ExitCode:
        left = {"unsettled_records": finish.unsettled, "uncommitted_records": finish.uncommitted}
        logger.info("stopped", extra=left)
        return ExitCode.UNSETTLED if any(left.values()) else ExitCode.OK

    def _unready(self) -> str | None:
        """Why this worker isn't ready; None while it is a member of its group, with or without
        partitions, and not stopping.
        """
        return (
            "it is stopping"
            if self._is_stopping
            else self._parts.source.membership.unready_reason()
        )

    def _remark(self) -> str:
        """What `/readyz` says besides: a doubted clock is no reason to restart, and nobody should
        have to look for it.
        """
        clock = self._parts.pipeline.clock_status(read_clock())
        if clock.trust != "doubted":
            return ""
        ahead = clock.seconds_ahead
        where = (
            "behind the records'"
            if ahead is None
            else f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the API's"
        )
        return f"the local clock is doubted: {where}; nothing is received until they agree\n"

    def _status(self) -> Mapping[str, object]:
        now = read_clock()
        snapshot = self._parts.pipeline.snapshot(now)
        status = status_of(snapshot, self._parts.source.ends(), now.unix_seconds)
        partition_errors = [
            {"topic": one.topic, "partition": one.partition, "detail": detail}
            for one, detail in self._parts.source.partition_errors().items()
        ]
        return {
            "version": __version__,
            **status,
            "not_ready_because": self._unready(),
            "partitions_in_trouble": partition_errors,
            "last_errors": self._journal.partition_errors(),
        }

    def _collector(self, process: Process) -> WorkerCollector:
        readings = Readings(
            snapshot=lambda: self._parts.pipeline.snapshot(read_clock()),
            ends=self._parts.source.ends,
            log_counts=lambda: process.journal.by_level,
            log_lines_dropped=lambda: process.journal.lines_dropped,
            loop_lag_seconds=lambda: self._loop_lag.histogram,
            is_ready=lambda: self._unready() is None,
            rebuilds=lambda: self._parts.source.rebuilds,
        )
        routes = process.settings.resolved_routes()
        topics = tuple(route.topic for route in routes)
        parking = {
            route.topic: route.parking_topic for route in routes if route.parking_topic is not None
        }
        return WorkerCollector(
            readings, Identification(__version__, process.config_hash, topics, parking)
        )


def _first(group: BaseExceptionGroup[WorkerError]) -> WorkerError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group holds exceptions")
