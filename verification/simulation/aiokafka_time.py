"""Makes aiokafka take the time from the loop that it runs on.

aiokafka mixes the loop's timers with `time.monotonic()`. On a real loop both are the same clock. On
a virtual one they aren't: a back-off that is timed by one and measured by the other would never
end. So its modules get a `time` that asks the running loop. On a real loop nothing changes by it,
which is why it may stay in place.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from aiokafka import client, conn
from aiokafka.consumer import fetcher, group_coordinator, subscription_state
from aiokafka.producer import message_accumulator

MODULES = (client, conn, fetcher, group_coordinator, subscription_state, message_accumulator)


class LoopTime:
    """The part of the module `time` that aiokafka uses."""

    time = staticmethod(time.time)

    @staticmethod
    def monotonic() -> float:
        """The running loop's time; outside of a loop, the machine's."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return time.monotonic()


def follow_loop_time() -> None:
    """Let aiokafka ask the running loop for the time, from now on."""
    for module in MODULES:
        cast(Any, module).time = LoopTime
