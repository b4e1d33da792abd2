"""Signals during the whole life of the process, and the deadline of a stop.

This module is imported before anything that takes time: a signal that arrives while the rest is
imported and the configuration is read is kept until the worker can act on it. Without a handler it
is lost for process 1 of a container (the kernel discards it), and it ends any other process without
a drain.

The interpreter writes the numbers of signals to a pipe in its C handler (`signal.set_wakeup_fd`),
and a thread of its own reads them. So neither a blocked event loop nor a main thread that is in a
system call can delay the deadline or a second signal.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType, MappingProxyType, TracebackType
from typing import NoReturn

from worker.errors import ExitCode, WorkerError

logger = logging.getLogger("worker.daemon.signals")

# A closed terminal sends SIGHUP: nobody is left to stop the worker in another way.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# By default these end a process. A typing error must not end the worker without a drain.
OTHER_SIGNALS = (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# One stop may come as two signals: `timeout`, and init programs that signal a whole process group,
# send both at once.
ECHO_SECONDS = 0.5
# The time of a stop before the worker is assembled: it has nothing to drain.
STARTING_SECONDS_MAX = 10.0
# The time from the worker's end to the process's end: the interpreter waits for threads (a name
# lookup, a file system that hangs).
EXITING_SECONDS_MAX = 5.0
# How long the last log line may delay the end at the deadline.
LAST_LINE_SECONDS_MAX = 1.0
NO_FIELDS: Mapping[str, object] = MappingProxyType({})

Take = Callable[[signal.Signals], object]
Others = Mapping[signal.Signals, Callable[[], object]]
NO_OTHERS: Others = MappingProxyType({})
Disposition = Callable[[int, FrameType | None], object] | int | None


class Signals:
    """Receives the process's signals. All methods are for the main thread.

    It is the context manager of the worker's run: after its exit the process has
    `EXITING_SECONDS_MAX` to end.
    """

    def __init__(self) -> None:
        self._reader, self._writer = -1, -1
        self._before: dict[int, Disposition] = {}
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        # Guards the following attributes, which the thread shares.
        self._lock = threading.Lock()
        self._take: Take | None = None
        self._others = NO_OTHERS
        self._kept: list[signal.Signals] = []
        self._drain_seconds = STARTING_SECONDS_MAX
        self._stopped_at: float | None = None
        self._deadline: float | None = None
        self._exit_code: int = ExitCode.UNSETTLED
        self._error: BaseException | None = None
        self._is_exiting = False

    def install(self) -> None:
        """Install the handlers; from now on no signal is lost."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, *OTHER_SIGNALS):
            # Set by `nohup`: the worker is to outlive its terminal.
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, _received)
        self._thread.start()

    def hand_over(self, take: Take, drain_seconds: float, others: Others = NO_OTHERS) -> None:
        """Give the first stop signal to `take`: now if it has arrived, else from another thread.

        If the process still runs `drain_seconds` after that signal, it ends with `UNSETTLED`; at a
        second signal it ends at once. Each function of `others` is called, in the same way, for
        every signal of its number. None of these functions may wait: the next signal would.
        """
        with self._lock:
            self._take, self._others, self._drain_seconds = take, others, drain_seconds
            self._exit_code = ExitCode.UNSETTLED
            kept, self._kept, self._stopped_at = self._kept, [], None
            for number in kept:
                self._receive(number)
        self._wake()

    def give_back(self) -> None:
        """Restore the handlers from before `install`, and raise the signals that have arrived.

        For commands that end by a signal as programs do.
        """
        if self._writer == -1:
            return
        # The pipe last: until a signal has its old disposition, its number must not be lost.
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.close(self._writer)
        self._writer = -1
        self._thread.join()
        for kept in self._kept:
            signal.raise_signal(kept)

    def ends_with(self, exit_code: ExitCode) -> None:
        """Set the exit code of the worker: a later deadline doesn't change it."""
        with self._lock:
            self._exit_code = exit_code

    def __enter__(self) -> Signals:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _stack: TracebackType | None,
    ) -> None:
        with self._lock:
            self._take, self._is_exiting = None, True
            if error is not None:
                self._error = error
                self._exit_code = (
                    error.exit_code if isinstance(error, WorkerError) else ExitCode.INTERNAL
                )
            in_time = time.monotonic() + EXITING_SECONDS_MAX
            self._deadline = in_time if self._deadline is None else min(self._deadline, in_time)
        # The run is over: a late signal must not turn the clean exit into a death by signal.
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
        self._wake()

    def _wake(self) -> None:
        """Make the thread read the deadline again.

        0 is no signal's number, and a full pipe wakes the thread as well.
        """
        if self._writer != -1:
            with suppress(BlockingIOError):
                os.write(self._writer, b"\0")

    def _listen(self) -> None:
        """Read signals until the pipe is closed or the deadline has passed."""
        while True:
            with self._lock:
                deadline = self._deadline
            seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._reader], [], [], seconds)
            numbers = os.read(self._reader, 64) if ready else b""
            with self._lock:
                if not ready:
                    self._end(
                        "exit_deadline_passed" if self._is_exiting else "stop_deadline_passed"
                    )
                for number in numbers:
                    if number in self._before:
                        self._receive(signal.Signals(number))
            if not numbers:
                os.close(self._reader)
                return

    def _receive(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if self._is_exiting:
            return
        if number in OTHER_SIGNALS:
            self._receive_other(number)
        elif self._stopped_at is None:
            self._stopped_at, self._deadline = now, now + self._drain_seconds
            if self._take is not None:
                self._take(number)
            else:
                self._kept.append(number)
                # Nothing was started: use the code that a shell reports for this signal.
                self._exit_code = 128 + number
        elif now - self._stopped_at >= ECHO_SECONDS:
            self._end("stopped_at_once", {"signal": number.name})

    def _receive_other(self, number: signal.Signals) -> None:
        if self._take is None:
            if number not in self._kept:
                self._kept.append(number)
        elif number in self._others:
            self._others[number]()
        else:
            logger.warning("signal_ignored", extra={"signal": number.name})

    def _end(self, event: str, fields: Mapping[str, object] = NO_FIELDS) -> NoReturn:
        """End the process at once.

        A thread writes the log line; it is waited for with a bound.
        """
        last_line = threading.Thread(target=_log, args=(event, fields, self._error), daemon=True)
        last_line.start()
        last_line.join(LAST_LINE_SECONDS_MAX)
        os._exit(self._exit_code)


def _received(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the interpreter has written the number to the pipe."""


def _log(event: str, fields: Mapping[str, object], error: BaseException | None) -> None:
    logger.error(event, extra=dict(fields), exc_info=error)
    logging.shutdown()
