"""A measure of this machine's speed, so that a test bounds work and not seconds.

A bound in seconds is a statement about the machine: it fails on a slower machine with nothing
wrong. A test states its bound in units instead. A unit is the CPU time of a fixed piece of work,
measured beside what it is compared with: half of it in the interpreter, half in a scan of memory by
the JSON decoder, as the work of intake is.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson

# Invariant 7 allows a step 100 ms. On the machine for which that was written a unit takes 11 ms.
STALL_UNITS_MAX = 9.0
REPEATS = 3
_TEXT = b'"' + b"x" * 4_000_000 + b'"'


def cpu_seconds(action: Callable[[], object]) -> float:
    """The CPU time of this thread for one call, in seconds: other processes do not lengthen it."""
    started = time.thread_time()
    action()
    return time.thread_time() - started


def units(action: Callable[[], object]) -> float:
    """The CPU time of `action` in units: the least of several calls.

    Each call is measured beside the unit itself. The least counts: a garbage collection or a cold
    cache lengthens a call, nothing shortens it.
    """
    pairs = [(cpu_seconds(action), cpu_seconds(_unit)) for _ in range(REPEATS)]
    return min(seconds for seconds, _ in pairs) / min(unit for _, unit in pairs)


def unit_seconds() -> float:
    """The CPU time of a unit on this machine at this moment, in seconds."""
    return min(cpu_seconds(_unit) for _ in range(REPEATS))


def _unit() -> None:
    total = 0
    for number in range(200_000):
        total += number
    orjson.loads(_TEXT)
