"""Asks a group's coordinator, and waits a little where there is none yet: a new cluster makes its topics when first asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError

ATTEMPTS_MAX = 40
WAIT_SECONDS = 0.25

NOT_YET = (CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError)

T = TypeVar("T")


async def ask_coordinator(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again while there is no coordinator, for 10 s.

    Raises:
        aiokafka.errors.KafkaError: what came of the last attempt, or of one that failed otherwise.
    """
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await ask()
        except NOT_YET:
            await asyncio.sleep(WAIT_SECONDS)
    return await ask()
