"""How late the event loop turns: heartbeats, answers and signals all share it."""

from __future__ import annotations

import asyncio

from worker.core.counters.counters import Histogram

INTERVAL_SECONDS = 0.25
_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    """Asks to be woken four times a second and notes how late it was."""

    def __init__(self) -> None:
        self.histogram = Histogram(_BOUNDS)

    async def run(self) -> None:
        """Measure until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + INTERVAL_SECONDS
            await asyncio.sleep(INTERVAL_SECONDS)
            self.histogram.observe(max(0.0, clock() - due))
