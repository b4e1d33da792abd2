"""Faults of the API, and of the networks before the API and before the brokers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from verification.chaos.proxy import Proxy
from verification.chaos.stage import Stage

OUTAGE_SECONDS = 5.0


async def api_says_503(stage: Stage) -> None:
    """Change the group during an outage: unsent records pass from worker to worker and back.

    They are with another worker when the API works again: an earlier owner must not send them any
    more. No duplicate is allowed.
    """
    async with stage.during("API says 503; joins, leaves") as phase:
        guest = await stage.new_member()
        await stage.pause(1, 2)
        await stage.plan({"kind": "status", "status": 503})
        phase.count += 1
        await asyncio.sleep(1)
        for is_over in (False, True):
            guest.start()
            await guest.await_ready()
            await asyncio.sleep(2)
            if is_over:
                await stage.plan()
                await stage.pause(2, 3)
            guest.terminate()
            await stage.await_end(guest)
            await asyncio.sleep(1)


async def api_refuses_connections(stage: Stage) -> None:
    """Refuse connections to the API. Requests under way are ambiguous."""
    async with stage.during("API refuses connections") as phase:
        await stage.pause(1, 2)
        proxies = [member.proxy for member in stage.members]
        before = stage.answers_withheld()
        for proxy in proxies:
            proxy.shut()
        phase.count += 1
        await asyncio.sleep(OUTAGE_SECONDS)
        for proxy in proxies:
            await proxy.open()
        await stage.pause(2, 3)
        stage.note_ambiguous(stage.answers_withheld() - before)


async def api_swallows_everything(stage: Stage) -> None:
    """Hold requests longer than a worker waits for an answer; then let them arrive late."""
    async with stage.during("API swallows everything") as phase:
        await stage.pause(1, 2)
        proxies = [member.proxy for member in stage.members]
        before = stage.answers_withheld()
        for proxy in proxies:
            proxy.swallow()
        phase.count += 1
        await asyncio.sleep(OUTAGE_SECONDS + 3)
        for proxy in proxies:
            proxy.flow()
        await stage.pause(2, 3)
        stage.note_ambiguous(stage.answers_withheld() - before)


async def lost_answers(stage: Stage) -> None:
    """Lose answers of the API after it has kept the rows. The ledger has these requests."""
    async with stage.during("accepted, then the answer lost") as phase:
        await stage.pause(1, 2)
        for _ in range(2):
            await stage.plan(
                {"kind": "accept_then_drop", "count": 6},
                {"kind": "reset_after", "count": 4},
                {"kind": "broken_body", "count": 4},
                {"kind": "reset_during", "count": 4},
            )
            phase.count += 18
            await stage.pause(4, 5)
        await stage.plan()


async def bad_network(stage: Stage) -> None:
    """Disturb the networks: latency, resets, black holes, half-open connections, cut answers."""
    async with stage.during("bad network before API and brokers") as phase:
        before = stage.answers_withheld()
        kinds: list[Callable[[Proxy], Awaitable[None]]] = [
            _slow,
            _cut,
            _swallow,
            _half_open,
            truncate,
        ]
        for kind in kinds:
            phase.count += 1
            await asyncio.gather(*(kind(member.proxy) for member in stage.members))
            await stage.pause(0.5, 1)
        for kind in kinds:
            phase.count += 1
            # The members may lose the group over it, as if they had been killed.
            for _ in stage.regulars:
                stage.note_kill()
            await asyncio.gather(
                *(kind(proxy) for proxy in stage.chance.sample(stage.brokers.proxies, 2))
            )
            await stage.pause(0.5, 1)
        stage.note_ambiguous(stage.answers_withheld() - before)


async def _slow(proxy: Proxy) -> None:
    usual, proxy.latency_seconds = proxy.latency_seconds, 0.4
    await asyncio.sleep(3)
    proxy.latency_seconds = usual


async def _cut(proxy: Proxy) -> None:
    for _ in range(3):
        proxy.reset_all()
        await asyncio.sleep(0.5)


async def _swallow(proxy: Proxy) -> None:
    proxy.swallow()
    await asyncio.sleep(3)
    proxy.flow()


async def _half_open(proxy: Proxy) -> None:
    proxy.half_close_all()
    await asyncio.sleep(3)


async def truncate(proxy: Proxy) -> None:
    proxy.truncate(3)
    await asyncio.sleep(2)
