"""An asyncio event loop on which time costs nothing.

When no callback is ready, time jumps to the next timer; an hour of backoff passes in milliseconds,
and the same coroutine gives the same history each time. What makes that true:
  - the loop never looks at the outside world: no real socket, no signal, no other thread wakes it;
  - the network is in memory: `create_connection` reaches what `listen` has put there, and nothing
    else;
  - work for a thread (`asyncio.to_thread`) is done at once, in line;
  - `run` seeds the global `random`, which aiokafka draws from, and puts its state back.
Sets of strings are ordered by a hash that differs per process. Where the code under test iterates
over such a set, a history repeats only within one process, or between processes that share
PYTHONHASHSEED.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import selectors
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

logger = logging.getLogger("verification.simulation")

T = TypeVar("T")

# More turns than any burst of work takes: a loop that turns this often without time is spinning.
TURNS_WITHOUT_TIME_MAX = 200_000
CLEANUP_SECONDS_MAX = 3600.0
CONNECT_SECONDS = 0.0005
# The rest of an interval can be less than a float can add to the time; a sleep of it would spin.
TIMER_SECONDS_MIN = 1e-6

Listener = Callable[[asyncio.BaseProtocol], asyncio.Transport]


class VirtualTimeError(RuntimeError):
    """The history can't continue."""


class DeadlockError(VirtualTimeError):
    """Nothing is ready and no timer is set: nothing will ever wake the waiting tasks."""


class TimeExceededError(VirtualTimeError):
    """More virtual time passed than the history was allowed."""


class SpinError(VirtualTimeError):
    """The loop turns without end while time does not move."""


def run(
    main: Coroutine[Any, Any, T], *, seconds_max: float, complaints: list[str] | None = None
) -> T:
    """Run the coroutine on a fresh virtual loop whose time starts at 0.

    Args:
        main: what to run.
        seconds_max: how much virtual time it may take.
        complaints: takes the loop's reports of tasks that died unobserved, also after the end, when
            garbage is collected.

    Raises:
        DeadlockError: the tasks wait for nothing that could happen.
        TimeExceededError: `seconds_max` of virtual time have passed.
        SpinError: some task never sleeps.
    """
    loop = VirtualLoop(seconds_max, complaints)
    randomness = random.getstate()
    random.seed(0)
    try:
        return loop.run_until_complete(main)
    finally:
        try:
            _clean_up(loop)
        finally:
            random.setstate(randomness)
            loop.close()


def _clean_up(loop: VirtualLoop) -> None:
    """Clean up as `asyncio.run` does, without hiding why a history is stuck."""
    loop.forgive(CLEANUP_SECONDS_MAX)
    left = _in_order(asyncio.all_tasks(loop))
    for task in left:
        task.cancel()

    async def end() -> None:
        await asyncio.gather(*left, return_exceptions=True)
        await loop.shutdown_asyncgens()

    with suppress(VirtualTimeError):
        loop.run_until_complete(end())


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. Its time is in seconds, starts at 0 and passes only while nothing is ready."""

    def __init__(self, seconds_max: float, complaints: list[str] | None = None) -> None:
        self._now = 0.0
        self._turns = 0
        self._seconds_max = seconds_max
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._failure: BaseException | None = None
        self.complaints = [] if complaints is None else complaints
        super().__init__(_VirtualSelector(self))

    def time(self) -> float:
        """The virtual time."""
        return self._now

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Set a timer of a microsecond at least."""
        return super().call_later(max(delay, TIMER_SECONDS_MIN), callback, *args, context=context)

    def listen(self, host: str, port: int, accept: Listener) -> None:
        """Put a server at this address.

        `accept` gets the client's protocol, and returns the transport or raises OSError.
        """
        self._listeners[host, port] = accept

    def close_listener(self, host: str, port: int) -> None:
        """Stop listening at this address. Open connections stay open."""
        del self._listeners[host, port]

    def raise_later(self, failure: BaseException) -> None:
        """Let the loop raise this before its next turn: for bugs of the simulation itself.

        No task awaits what raises them.
        """
        self._failure = failure

    def forgive(self, seconds: float) -> None:
        """Forget past errors and run for this time at most: for the end, with all cancelled."""
        self._failure, self._turns, self._seconds_max = None, 0, self._now + seconds

    def wait(self, timeout: float | None) -> None:
        """Advance the time by what a real selector would block; None: without a bound."""
        if self._failure is not None:
            raise self._failure
        if timeout is None:
            raise DeadlockError(
                f"at {self._now:g} s nothing will ever happen; waiting: {self._waiting()}"
            )
        if timeout <= 0:
            self._turns += 1
            if self._turns > TURNS_WITHOUT_TIME_MAX:
                raise SpinError(
                    f"at {self._now:g} s time does not move after {self._turns} turns; tasks: "
                    f"{self._waiting()}"
                )
            return
        self._turns = 0
        self._now += timeout
        if self._now > self._seconds_max:
            raise TimeExceededError(
                f"more than {self._seconds_max:g} s of virtual time; waiting: {self._waiting()}"
            )

    def _waiting(self) -> str:
        return (
            "; ".join(_describe(task) for task in _in_order(asyncio.all_tasks(self))) or "no task"
        )

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what died unobserved, without a traceback.

        asyncio reports it when the garbage collector runs, which may be while pytest parses
        source for a report. Python 3.11 crashes there if a traceback is made, since that parses
        source too.
        """
        complaint = (
            f"{context['message']}: {context.get('exception')!r} "
            f"{context.get('future') or context.get('task') or ''}"
        )
        self.complaints.append(complaint)
        logger.error(complaint)

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
        **_options: object,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to the listener at this address; TLS is ignored."""
        # A refusal takes time as well: aiokafka tries again at once.
        await asyncio.sleep(CONNECT_SECONDS)
        accept = self._listeners.get((host, port))
        if accept is None:
            raise ConnectionRefusedError(f"nobody listens on {host}:{port} of the virtual network")
        protocol = protocol_factory()
        transport = accept(protocol)
        protocol.connection_made(transport)
        return transport, protocol

    async def getaddrinfo(  # type: ignore[override]
        self, host: str, port: int, **_options: object
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        """Resolve each name to itself."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))]

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run it at once, in line: a thread would finish at a time that differs from run to run."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever awaits the future
            future.set_exception(error)
        return future


def _in_order(tasks: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Order tasks by name; those that asyncio has numbered by their creation."""
    return sorted(tasks, key=lambda task: (len(task.get_name()), task.get_name()))


def _describe(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    where = (
        f" at {stack[0].f_code.co_filename.rpartition('/')[2]}:{stack[0].f_lineno}" if stack else ""
    )
    return f"{task.get_name()}{where}"


class _VirtualSelector(selectors.BaseSelector):
    """Never blocks and never finds anything: the loop learns how long it would have waited."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.wait(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """For the loop's own wake-up socket, which nothing here writes to."""
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, number, events, data)
        self._keys[number] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj if isinstance(fileobj, int) else fileobj.fileno()]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def modify(self, fileobj: Any, events: int, data: Any = None) -> NoReturn:
        raise NotImplementedError("the virtual loop has no sockets")
