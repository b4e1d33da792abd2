"""A Post API that does as little as possible, in a process of its own: 0.3 µs for a row.

    python -m bench.receiver PORT [--delay-seconds 0.05] [--latencies]

It counts the lines of bodies and answers 200 after the delay. `Receiver` starts it and asks it:
`/figures` returns what it has counted, `/wait/ROWS` answers when so many rows were accepted, and
`/outage/SECONDS` makes it answer 503 for that time.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import re
import sys
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from types import TracebackType

from bench.process_figures import cpu_seconds
from worker.sandbox.kafka import free_ports
from worker.sandbox.processes import start_process

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
# The number of an event, in the quoted JSON of its cell: of a paced event, its time in µs.
_NUMBER = re.compile(rb'number"":(\d+)')
START_SECONDS_MAX = 30.0


@dataclass
class _Counts:
    """What was accepted so far. Times are Unix seconds; latencies are seconds."""

    rows: int = 0
    requests: int = 0
    first_unix: float = 0.0
    last_unix: float = 0.0
    latencies: list[float] = field(default_factory=list)


class _State:
    def __init__(self, delay_seconds: float, *, notes_latencies: bool) -> None:
        self.delay_seconds = delay_seconds
        self.notes_latencies = notes_latencies
        self.counts = _Counts()
        self.outage_until = 0.0
        self._waiting: list[tuple[int, asyncio.Event]] = []

    def accept(self, rows: int, sent_unix: list[float]) -> None:
        counts, now = self.counts, time.time()
        counts.first_unix = counts.first_unix or now
        counts.last_unix = now
        counts.rows += rows
        counts.requests += 1
        counts.latencies += [now - sent for sent in sent_unix]
        for rows_min, event in self._waiting:
            if counts.rows >= rows_min:
                event.set()

    async def wait_for(self, rows: int) -> None:
        event = asyncio.Event()
        self._waiting.append((rows, event))
        if self.counts.rows < rows:
            await event.wait()


class _Connection(asyncio.Protocol):
    """HTTP/1.1 as the worker and its peers speak it: a head with a length, and a body."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._head = b""
        self._missing = 0
        self._lines = 0
        self._body: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection's transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take a part of a head or of a body."""
        if self._missing:
            self._read_body(data)
            return
        self._head += data
        head, separator, rest = self._head.partition(b"\r\n\r\n")
        if not separator:
            return
        self._head = b""
        if head.startswith(b"GET"):
            task = asyncio.ensure_future(self._control(head.split()[1].decode()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        length = _LENGTH.search(head)
        self._missing = int(length[1]) if length else 0
        self._read_body(rest)

    def _read_body(self, data: bytes) -> None:
        self._missing -= len(data)
        self._lines += data.count(b"\n")
        if self._state.notes_latencies:
            self._body.append(data)
        if self._missing > 0:
            return
        # The first line is the header.
        rows, self._lines = self._lines - 1, 0
        sent = [int(number) / 1e6 for number in _NUMBER.findall(b"".join(self._body))]
        self._body.clear()
        asyncio.get_running_loop().call_later(self._state.delay_seconds, self._answer, rows, sent)

    def _answer(self, rows: int, sent: list[float]) -> None:
        if time.time() < self._state.outage_until:
            self._write("503 Service Unavailable", "outage")
            return
        self._write("200 OK", "accepted")
        self._state.accept(rows, sent)

    async def _control(self, path: str) -> None:
        _, name, *value = path.split("/")
        match name:
            case "wait":
                await self._state.wait_for(int(value[0]))
            case "outage":
                self._state.outage_until = time.time() + float(value[0])
            case _:
                pass
        self._write("200 OK", json.dumps(vars(self._state.counts)))

    def _write(self, status: str, text: str) -> None:
        head = f"HTTP/1.1 {status}\r\nDate: {formatdate(usegmt=True)}\r\n"
        self._transport.write(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())


async def serve(port: int, state: _State) -> None:
    """Serve until the process is killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(state), "127.0.0.1", port)
    await server.serve_forever()


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a receiver has accepted. Times are Unix seconds; latencies are seconds."""

    rows: int
    requests: int
    first_unix: float
    last_unix: float
    latencies: list[float]


class Receiver:
    """Starts a receiver, and asks it; a context manager."""

    def __init__(self, delay_seconds: float = 0.0, *, notes_latencies: bool = False) -> None:
        self._delay_seconds = delay_seconds
        self._notes_latencies = notes_latencies
        (self._port,) = free_ports(1)

    def __enter__(self) -> Receiver:
        command = [sys.executable, "-m", "bench.receiver", str(self._port)]
        command += ["--delay-seconds", str(self._delay_seconds)]
        command += ["--latencies"] if self._notes_latencies else []
        # Its only output is a traceback.
        self._process = start_process(command, sys.stderr.buffer)
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                self.accepted()
            except ConnectionRefusedError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.02)
            else:
                return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def base_url(self) -> str:
        """The address of the API."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def cpu_seconds(self) -> float:
        """The CPU that the receiver itself has taken."""
        return cpu_seconds(self._process.pid)

    def accepted(self) -> Accepted:
        """What was accepted so far."""
        return self._ask("/figures", START_SECONDS_MAX)

    def wait_for(self, rows: int, seconds_max: float) -> Accepted:
        """Wait until so many rows were accepted.

        Raises:
            TimeoutError: they were not.
        """
        return self._ask(f"/wait/{rows}", seconds_max)

    def refuse(self, seconds: float) -> None:
        """Answer 503 for this time."""
        self._ask(f"/outage/{seconds}", START_SECONDS_MAX)

    def _ask(self, path: str, seconds_max: float) -> Accepted:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=seconds_max)
        try:
            connection.request("GET", path)
            return Accepted(**json.loads(connection.getresponse().read()))
        finally:
            connection.close()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.receiver", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--delay-seconds", type=float, default=0.0)
    parser.add_argument("--latencies", action="store_true")
    options = parser.parse_args()
    state = _State(options.delay_seconds, notes_latencies=options.latencies)
    asyncio.run(serve(options.port, state))


if __name__ == "__main__":
    main()
