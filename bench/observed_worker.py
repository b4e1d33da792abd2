"""The worker, with the duration of every callback of its event loop noted.

    python -m bench.observed_worker FILE run --config …

At its end it writes the durations above a millisecond to FILE, in seconds, as a list in JSON. It
costs some µs per callback, so no other figure is taken from such a run.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from worker.__main__ import main

# Shorter callbacks are no stalls, and would hide those that are.
NOTED_SECONDS_MIN = 0.001


def observe(file: Path) -> Callable[[], None]:
    """Note how long callbacks take from now on; returns what writes the durations."""
    durations: list[float] = []
    run, clock = asyncio.Handle._run, time.perf_counter

    def timed(handle: asyncio.Handle) -> None:
        began = clock()
        run(handle)
        taken = clock() - began
        if taken >= NOTED_SECONDS_MIN:
            durations.append(taken)

    def write() -> None:
        file.write_text(json.dumps(durations), encoding="utf-8")

    setattr(asyncio.Handle, "_run", timed)  # noqa: B010  # a method that types declare as fixed
    return write


if __name__ == "__main__":
    write = observe(Path(sys.argv.pop(1)))
    try:
        main()
    finally:
        write()
