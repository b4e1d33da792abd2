"""The daemon: starts everything in order, and stops it in order, under one deadline."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry

from worker import __version__
from worker.core.counters.forecast import Forecaster
from worker.core.counters.trail import Trail
from worker.core.intake.pass_choice import PASS_FORM
from worker.core.model.clock import Now
from worker.core.model.command import Finish
from worker.core.model.event import StopRequested
from worker.daemon.assembly import Parts, admin_credentials, assemble
from worker.daemon.readings import Readings, worker_info
from worker.daemon.runner import Edges, Runner
from worker.daemon.signals import Signals
from worker.edges.kafka.aiokafka_internals import expected_names
from worker.edges.kafka.instance import Instance, claim, take_over
from worker.edges.telemetry.admin_listener import Address
from worker.edges.telemetry.admin_server import AdminServer, Answers
from worker.edges.telemetry.diagnostics import Diagnostics
from worker.edges.telemetry.event_loop import LoopWatchdog
from worker.edges.telemetry.log_filters import RecentLogs
from worker.edges.telemetry.metrics.collector import WorkerCollector
from worker.edges.telemetry.status import status_of
from worker.edges.telemetry.status_page import page_document
from worker.errors import ExitCode, WorkerError
from worker.settings.admin import Admin
from worker.settings.schema import Settings
from worker.supervision import supervise

logger = logging.getLogger("worker.app")

# The part of the stop's time that draining leaves for the last commit, leaving the group and
# closing.
CLOSING_SECONDS_MAX = 5.0
# After this time, the partitions wait until the predecessor's session ends.
TAKE_OVER_SECONDS_MAX = 5.0
# For the spans that wait at the end: a collector that answers takes a fraction of a second.
LAST_SPANS_SECONDS_MAX = 3.0


@dataclass(frozen=True, slots=True)
class Process:
    """What the daemon gets from the command that starts it."""

    settings: Settings
    config_hash: str
    logs: RecentLogs
    signals: Signals


def read_clock() -> Now:
    """Read both clocks; the monotonic clock is the event loop's."""
    return Now(asyncio.get_running_loop().time(), time.time())


async def run(process: Process) -> ExitCode:
    """Run until a signal asks to stop; returns the process's exit code.

    Raises:
        WorkerError: something that the worker needs is not available.
    """
    expected_names.check()
    with process.signals:
        instance = claim(process.settings.state_dir)
        try:
            daemon = _Daemon(
                assemble(process.settings, instance.id, process.logs.learn_secret),
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
            # The consumer has left the group: another process may use this instance id now.
            instance.release()
        process.signals.ends_with(exit_code)
        return exit_code


class _Daemon:
    """One run from start to stop."""

    def __init__(self, parts: Parts, process: Process, instance: Instance) -> None:
        self._parts = parts
        self._instance = instance
        self._settings = process.settings
        self._logs = process.logs
        self._signals = process.signals
        # The end of the drain; None while the worker isn't stopping.
        self._stop_ends: Now | None = None
        self._readings = Readings(
            parts,
            worker_info(process.settings, process.config_hash, read_clock().unix_seconds),
            Forecaster(process.settings.limits.event_age_seconds_max),
            process.logs,
            read_clock,
            lambda: None if self._stop_ends is None else self._stop_ends.unix_seconds,
        )
        self._trail = Trail()
        self._diagnostics = Diagnostics(self._trail, self._readings.read)
        self._admin_credentials = admin_credentials(
            process.settings.admin, process.logs.learn_secret
        )
        self._admin = self._admin_server(process.settings.admin)

    def _admin_server(self, admin: Admin) -> AdminServer:
        registry = CollectorRegistry()
        for collector in (
            PROCESS_COLLECTOR,
            PLATFORM_COLLECTOR,
            GC_COLLECTOR,
            WorkerCollector(self._readings.read),
        ):
            registry.register(collector)
        return AdminServer(
            Address(admin.host, admin.port),
            Answers(
                registry,
                lambda: status_of(self._readings.read()),
                lambda: page_document(self._readings.read()),
                self._readings.unready,
                self._readings.remark,
                self._diagnostics.document if admin.debug_stacks else None,
            ),
            admin.allowed_hosts,
            self._admin_credentials,
            None
            if admin.metrics_port is None
            else Address(
                admin.metrics_host,
                admin.metrics_port,
                "admin.metrics_host or admin.metrics_port",
            ),
        )

    async def run(self) -> ExitCode:
        """Start, run, stop: each step in order, with its reason."""
        self._take_signals()
        # The admin port first: liveness must answer while the brokers can't be reached yet.
        await self._admin.start()
        if self._parts.tracing is not None:
            self._parts.tracing.export.start()
        try:
            async with self._parts.sink, asyncio.TaskGroup() as tasks:
                fields = {"version": __version__, "fast_pass": PASS_FORM}
                logger.info("started", extra={**fields, "admin_port": self._admin.port})
                finish = await self._work(tasks)
            # The last commit is made: leave the group, so that the other members need not wait
            # until this worker's session ends.
            await self._close_all()
        finally:
            # The admin port last: a scrape sees the final state.
            await self._admin.stop()
        return self._ended(finish)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        self._signals.hand_over(
            lambda number: loop.call_soon_threadsafe(self._stop, number),
            self._settings.shutdown.drain_seconds,
            {
                signal.SIGQUIT: lambda: self._diagnostics.write_from_thread(loop, "SIGQUIT"),
                signal.SIGUSR1: self._logs.level.toggle_debug,
            },
        )

    async def _work(self, tasks: asyncio.TaskGroup) -> Finish:
        """Run the pipeline and the tasks beside it, until the drain has ended."""
        # What exists now stays: the garbage collector need not visit it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        background = [
            tasks.create_task(supervise(name, work), name=name) for name, work in self._background()
        ]
        parts = self._parts
        runner = Runner(parts.pipeline, parts.inbox, _edges(parts), read_clock, self._trail)
        finish = await runner.run()
        for task in background:
            task.cancel()
        return finish

    def _background(self) -> Sequence[tuple[str, Callable[[], Coroutine[Any, Any, None]]]]:
        """Return what runs beside the pipeline until the drain has ended, by name."""
        parts = self._parts
        return (
            ("kafka source", self._consume),
            ("missing topics", parts.source.watch_topics),
            ("ends of partitions", parts.source.watch_ends),
            ("dead letters", parts.dead_letters.run),
            ("parking", parts.parking.run),
            ("keys", parts.keys.run),
            ("admin credentials", self._admin_credentials.run),
            ("loop lag", self._readings.loop_lag.run),
            ("loop watchdog", LoopWatchdog(self._diagnostics.report_blockade).run),
            ("forecast", self._readings.run),
        )

    async def _consume(self) -> None:
        """Consume until cancelled.

        Members of the group that have this instance's name are removed first: only a dead
        predecessor can have it.
        """
        if self._instance.is_inherited:
            connection, group_id = self._parts.connection, self._settings.kafka.group_id
            await take_over(connection, group_id, connection.client_id, TAKE_OVER_SECONDS_MAX)
        await self._parts.source.run(self._diagnostics.write)

    def _stop(self, number: signal.Signals) -> None:
        """Start to drain.

        A second signal and the deadline are handled in `signals`, without the event loop.
        """
        now, drain_seconds = read_clock(), self._settings.shutdown.drain_seconds
        self._stop_ends = Now(
            now.monotonic_seconds + drain_seconds, now.unix_seconds + drain_seconds
        )
        reserve = min(CLOSING_SECONDS_MAX, drain_seconds / 4)
        logger.info("stopping", extra={"signal": number.name, "drain_seconds": drain_seconds})
        self._parts.inbox.post(StopRequested(self._stop_ends.monotonic_seconds - reserve))

    async def _close_all(self) -> None:
        parts = self._parts
        await asyncio.gather(
            self._close("kafka source", parts.source.close),
            parts.dead_letters.close(),
            parts.parking.close(),
            self._close_traces(),
        )

    async def _close(self, name: str, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Close a part that may hang while brokers are down.

        It runs in a task of its own: aiokafka's stop may raise CancelledError.
        """
        task = asyncio.ensure_future(close())
        done, _ = await asyncio.wait([task], timeout=CLOSING_SECONDS_MAX)
        if not done:
            task.cancel()
            logger.warning("close_timed_out", extra={"part": name})
        elif task.cancelled():
            logger.warning("close_failed", extra={"part": name, "detail": "it was cancelled"})
        elif (error := task.exception()) is not None:
            fields = {"part": name, "detail": f"{type(error).__name__}: {error}"}
            logger.warning("close_failed", extra=fields)

    async def _close_traces(self) -> None:
        """Send the last spans, in half of the time that is left at most.

        The other parts that close need this time too.
        """
        if self._parts.tracing is not None and self._stop_ends is not None:
            left = max(0.0, self._stop_ends.monotonic_seconds - read_clock().monotonic_seconds)
            await self._parts.tracing.export.close(min(LAST_SPANS_SECONDS_MAX, left / 2))

    def _ended(self, finish: Finish) -> ExitCode:
        left = {"unsettled_records": finish.unsettled, "uncommitted_records": finish.uncommitted}
        logger.info("stopped", extra=left)
        return ExitCode.UNSETTLED if any(left.values()) else ExitCode.OK


def _edges(parts: Parts) -> Edges:
    """Return the edges, with spans around their work where traces are made."""
    source, sink, tracing = parts.source, parts.sink, parts.tracing
    if tracing is None:
        return Edges(source, sink, parts.dead_letters, parts.parking)
    traces = tracing.traces
    return Edges(
        source,
        traces.requests(sink),
        parts.dead_letters,
        parts.parking,
        traces.log_fields,
    )


def _first(group: BaseExceptionGroup[WorkerError]) -> WorkerError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group holds exceptions")
