"""Writes lines to a descriptor from a thread of its own, so that nothing waits for the reader.

A pipe whose reader has stopped blocks every write to it, and with it the event loop, its probes and
its commits. The descriptor can't be made non-blocking instead: that would change it for every
process that shares the terminal or the pipe.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

# Lines that wait for a slow reader. Beyond this the newest are dropped: the oldest show how the
# incident began.
WAITING_BYTES_MAX = 1024 * 1024
# Lines are written together up to this size.
CHUNK_BYTES = 64 * 1024


class LineWriter:
    """Takes lines without waiting and writes them in order.

    Lines that can't be kept or written are dropped and counted.

    Args:
        descriptor: where the lines are written.
        notice: formats the line about the number of dropped lines. It follows the first lines that
            can be written again.
    """

    def __init__(self, descriptor: int, notice: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._notice = notice
        # No lock anywhere: the garbage collector may run a destructor that logs at any moment and
        # in any thread, also in this one.
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        # Counted by the callers (one at a time: they hold the log handler's lock) …
        self._taken_bytes = 0
        self._refused = 0
        # … and by the thread.
        self._done_bytes = 0
        self._failed = 0
        self._noticed = 0
        self._is_within_line = False
        threading.Thread(target=self._run, name="log writer", daemon=True).start()

    @property
    def dropped(self) -> int:
        """Lines that were dropped so far."""
        return self._refused + self._failed

    def write(self, line: str) -> None:
        """Write the line and a line break soon, or drop it if too much waits already."""
        data = _encoded(line)
        waiting = self._taken_bytes - self._done_bytes
        if waiting and waiting + len(data) > WAITING_BYTES_MAX:
            self._refused += 1
            return
        self._taken_bytes += len(data)
        self._queue.put(data)

    def flush(self, seconds_max: float) -> bool:
        """Wait until all lines so far are written or dropped; returns whether they are."""
        reached = threading.Event()
        self._queue.put(reached)
        return reached.wait(seconds_max)

    def _run(self) -> None:
        """Write until the process ends. The thread is a daemon: the process doesn't wait for it."""
        while True:
            items = self._next()
            lines = [item for item in items if isinstance(item, bytes)]
            is_written = self._write_all(b"".join(lines))
            self._done_bytes += sum(map(len, lines))
            if not is_written:
                self._failed += len(lines)
            elif (missing := self.dropped - self._noticed) and self._write_all(
                _encoded(self._notice(missing))
            ):
                self._noticed += missing
            for item in items:
                if isinstance(item, threading.Event):
                    item.set()

    def _next(self) -> Sequence[bytes | threading.Event]:
        items = [self._queue.get()]
        size = 0
        with suppress(Empty):
            while size < CHUNK_BYTES:
                items.append(self._queue.get_nowait())
                size += len(items[-1]) if isinstance(items[-1], bytes) else 0
        return items

    def _write_all(self, data: bytes) -> bool:
        """Write these bytes; returns whether all were written."""
        # A line that a failure cut off must not run into the next line.
        rest = memoryview(b"\n" + data if self._is_within_line and data else data)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except BlockingIOError:
                # Another process that shares the terminal or the pipe has made it non-blocking.
                with suppress(OSError):
                    select.select([], [self._descriptor], [])
            except OSError:
                # A full disk, a terminal that is gone: the next lines are tried all the same.
                return False
            else:
                self._is_within_line = written < len(rest)
                rest = rest[written:]
        return True


def _encoded(line: str) -> bytes:
    return line.encode(errors="backslashreplace") + b"\n"
