"""The daemon from start to stop, in this process: real sockets, and brokers that nobody runs."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from operator import add
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import aiohttp
import pytest

from tests.readings import WrittenLines
from worker.core.model.clock import Now
from worker.daemon import app
from worker.daemon.app import Process
from worker.daemon.assembly import Parts, assemble
from worker.daemon.signals import NO_OTHERS, Others, Signals
from worker.edges.kafka.instance import claim
from worker.edges.kafka.source import KafkaSource
from worker.edges.telemetry.log_filters import DIAGNOSTICS, LogLevel, RecentLogs
from worker.edges.telemetry.reading import SpanCounts
from worker.edges.telemetry.redaction import Redactor
from worker.errors import ExitCode, UnavailableError
from worker.sandbox.kafka import free_ports
from worker.settings.schema import Settings

DRAIN_SECONDS = 8.0


class HandedOver(Signals):
    """Takes the place of the process's signals: a test stops the daemon by `stop`."""

    def __init__(self) -> None:
        super().__init__()
        self.drain_seconds = 0.0
        self.exit_code: ExitCode | None = None
        self.stop: Callable[[signal.Signals], object] = lambda number: None
        self.others = NO_OTHERS
        self.on_hand_over: Callable[[], None] = lambda: None

    def hand_over(
        self,
        take: Callable[[signal.Signals], object],
        drain_seconds: float,
        others: Others = NO_OTHERS,
    ) -> None:
        self.others = others
        self.stop, self.drain_seconds = take, drain_seconds
        self.on_hand_over()

    def ends_with(self, exit_code: ExitCode) -> None:
        self.exit_code = exit_code

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _stack: TracebackType | None,
    ) -> None:
        """Set no deadline: this process goes on."""


class Daemon:
    """A daemon that can start, and its admin port."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.kafka_port, self.port = free_ports(2)
        settings = Settings.model_validate(
            {
                "kafka": {"bootstrap_servers": [f"127.0.0.1:{self.kafka_port}"]},
                "appmetrica": {"applications": {"1111": {"post_api_key": "secret-key"}}},
                "admin": {"host": "127.0.0.1", "port": self.port},
                "shutdown": {"drain_seconds": DRAIN_SECONDS},
                "state_dir": str(state_dir),
            }
        )
        self.signals = HandedOver()
        logs = RecentLogs(Redactor(()), WrittenLines(), LogLevel("info"))
        self.process = Process(settings, "hash", logs, self.signals)

    async def answer(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{self.port}{path}") as response,
        ):
            return response.status, await response.text()

    async def listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[ExitCode]]:
        """Started as far as the admin port; cancelled at the end, if it still runs."""
        started = asyncio.Event()
        self.signals.on_hand_over = started.set
        task = asyncio.create_task(app.run(self.process))
        try:
            await started.wait()
            # The port is opened in the same step, or the next ones.
            while not await self.listens():
                assert not task.done()
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    def has_released_its_instance(self) -> bool:
        """True if the next process takes over the id of this one."""
        instance = claim(self.state_dir)
        try:
            return instance.is_inherited
        finally:
            instance.release()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    thresholds = gc.get_threshold()
    yield Daemon(tmp_path)
    # The daemon sets the garbage collector for the whole process.
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def change_parts(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    """Change a part of the daemon before it starts."""

    def changed(*arguments: Any) -> Parts:
        parts = assemble(*arguments)
        change(parts)
        return parts

    monkeypatch.setattr(app, "assemble", changed)


async def test_it_is_alive_before_any_broker_is_and_ends_when_it_is_stopped(daemon: Daemon) -> None:
    async with daemon.running() as run:
        assert (await daemon.answer("/livez"))[0] == 200
        status, reason = await daemon.answer("/readyz")
        assert status == 503
        assert "it is stopping" not in reason
        assert daemon.signals.drain_seconds == DRAIN_SECONDS
        daemon.signals.stop(signal.SIGTERM)
        assert "it is stopping" in (await daemon.answer("/readyz"))[1]
        assert await run == daemon.signals.exit_code == ExitCode.OK
    assert not await daemon.listens()
    assert daemon.has_released_its_instance()


async def test_a_taken_port_ends_it_with_one_error_and_frees_its_instance(daemon: Daemon) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", daemon.port)
    async with server:
        with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{daemon.port}"):
            await app.run(daemon.process)
    assert daemon.signals.exit_code is None
    assert daemon.has_released_its_instance()


async def test_the_end_of_a_task_is_raised_as_its_own_error(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise UnavailableError("the consumer had to be replaced too often")

    change_parts(monkeypatch, lambda parts: setattr(parts.source, "run", fail))
    with pytest.raises(UnavailableError, match="replaced too often"):
        await app.run(daemon.process)
    assert not await daemon.listens()


async def test_a_bug_in_a_task_is_raised_with_all_that_it_took_along(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise ZeroDivisionError

    change_parts(monkeypatch, lambda parts: setattr(parts.source, "run", fail))
    with pytest.raises(ExceptionGroup) as caught:
        await app.run(daemon.process)
    assert caught.group_contains(ZeroDivisionError)
    assert daemon.has_released_its_instance()


async def test_a_consumer_that_is_given_up_writes_diagnostics(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_written = asyncio.Event()

    async def stall(diagnose: Callable[[str], object]) -> None:
        diagnose("nothing was fetched")
        is_written.set()
        await asyncio.Event().wait()

    change_parts(monkeypatch, lambda parts: setattr(parts.source, "run", stall))
    with caplog.at_level(logging.INFO, logger=DIAGNOSTICS):
        async with daemon.running() as run:
            await is_written.wait()
            daemon.signals.stop(signal.SIGTERM)
            assert await run == ExitCode.OK
    lines = {one.message: vars(one) for one in caplog.records if one.name == DIAGNOSTICS}
    assert [name.removeprefix("diagnostics_") for name in lines] == [
        "threads",
        "tasks",
        "events",
        "partitions",
    ]
    assert {line["cause"] for line in lines.values()} == {"nothing was fetched"}
    assert any(task.startswith("kafka source: ") for task in lines["diagnostics_tasks"]["tasks"])


async def test_a_source_that_does_not_close_is_logged_and_waited_for_with_a_bound(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sources: list[KafkaSource] = []

    async def hang() -> None:
        await asyncio.Event().wait()

    def let_hang(parts: Any) -> None:
        sources.append(parts.source)
        monkeypatch.setattr(parts.source, "close", hang)

    monkeypatch.setattr(app, "CLOSING_SECONDS_MAX", 0.1)
    change_parts(monkeypatch, let_hang)
    with caplog.at_level(logging.INFO, logger="worker.app"):
        async with daemon.running() as run:
            daemon.signals.stop(signal.SIGTERM)
            assert await run == ExitCode.OK
    events = [one.message for one in caplog.records if one.name == "worker.app"]
    assert events == ["started", "stopping", "close_timed_out", "stopped"]
    await KafkaSource.close(sources[0])


async def test_a_source_that_fails_to_close_is_logged_with_what_was_wrong(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sources: list[KafkaSource] = []

    async def fail() -> None:
        raise ConnectionResetError("the broker is gone")

    def let_fail(parts: Any) -> None:
        sources.append(parts.source)
        monkeypatch.setattr(parts.source, "close", fail)

    change_parts(monkeypatch, let_fail)
    with caplog.at_level(logging.INFO, logger="worker.app"):
        async with daemon.running() as run:
            daemon.signals.stop(signal.SIGTERM)
            assert await run == ExitCode.OK
    (line,) = (vars(one) for one in caplog.records if one.message == "close_failed")
    assert (line["part"], line["detail"]) == (
        "kafka source",
        "ConnectionResetError: the broker is gone",
    )
    await KafkaSource.close(sources[0])


class LastSpans:
    """Takes the place of the spans' export, and notes how long the last spans may take."""

    def __init__(self) -> None:
        self.seconds_max: float | None = None

    def start(self) -> None:
        """Start nothing."""

    def counts(self) -> SpanCounts:
        return SpanCounts()

    async def close(self, seconds_max: float) -> None:
        self.seconds_max = seconds_max


async def test_the_last_spans_have_their_time_although_the_clock_is_set_meanwhile(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = LastSpans()
    traces = SimpleNamespace(requests=lambda sink: sink, log_fields=lambda _: {})

    def traced(*arguments: Any) -> Parts:
        tracing: Any = SimpleNamespace(traces=traces, export=export)
        return replace(assemble(*arguments), tracing=tracing)

    monkeypatch.setattr(app, "assemble", traced)
    async with daemon.running() as run:
        daemon.signals.stop(signal.SIGTERM)
        # The signal is handled in the loop's next turn; then the clock is set forward by an hour.
        await asyncio.sleep(0)
        read_clock = app.read_clock
        ahead = Now(0.0, 3600.0)
        monkeypatch.setattr(app, "read_clock", lambda: Now(*map(add, read_clock(), ahead)))
        assert await run == ExitCode.OK
    assert export.seconds_max is not None and export.seconds_max > 0
