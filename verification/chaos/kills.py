"""kill -9: at random moments, and between a message and its effect."""

from __future__ import annotations

import asyncio

from verification.chaos.members import Member
from verification.chaos.protocols import PRODUCE
from verification.chaos.stage import API_LATENCY_SECONDS, Stage
from verification.chaos.traps import Point

# On a busy machine a restart takes long.
SPRING_SECONDS_MAX = 45.0
# Longer than a commit interval: a commit passes in it.
WITHHELD_SECONDS = 2.5
# Published in one go before a kill, so that batches are full and several in flight.
BURST = 1500
SLOW_API_SECONDS = 0.2


def kill(stage: Stage, member: Member) -> None:
    """SIGKILL."""
    stage.phase.count += 1
    stage.note_kill()
    member.kill()


async def random_kills(stage: Stage, count: int) -> None:
    """Kill workers at random moments, now and then two at once."""
    async with stage.during("SIGKILL at random"):
        for member in stage.members:
            member.proxy.latency_seconds = SLOW_API_SECONDS
        await stage.pause(1, 2)
        while stage.phase.count < count:
            together = 2 if stage.chance.random() < 0.2 and stage.phase.count + 2 <= count else 1
            victims = stage.chance.sample(stage.regulars, together)
            await stage.producer.publish(BURST)
            await stage.pause(0.1, 0.8)
            for member in victims:
                kill(stage, member)
            for member in victims:
                member.start()
            await stage.pause(1.5, 2.5)
        for member in stage.members:
            member.proxy.latency_seconds = API_LATENCY_SECONDS


async def labelled_kills(stage: Stage, count: int) -> None:
    """Kill a worker at each point of its conversations."""
    async with stage.during("SIGKILL at labelled points"):
        points = [*Point] * (count // len(Point) + 1)
        for point in points[:count]:
            await _kill_at(stage, point)
            await stage.pause(1, 2)
        await kill_with_dead_letters_withheld(stage)


async def kill_with_dead_letters_withheld(stage: Stage) -> None:
    """Kill all workers after a time in which commits succeed and dead letters do not.

    What was committed must not have relied on the dead letters.
    """
    for proxy in stage.brokers.proxies:
        proxy.withheld_kinds.add(PRODUCE)
    await asyncio.sleep(WITHHELD_SECONDS)
    for member in stage.regulars:
        kill(stage, member)
    for proxy in stage.brokers.proxies:
        proxy.withheld_kinds.clear()
    for member in stage.regulars:
        member.start()


async def _kill_at(stage: Stage, point: Point) -> None:
    by_name = {name: member for member in stage.members for name in (member.name, member.client_id)}

    def strike(owner: str) -> bool:
        member = by_name.get(owner)
        if member is None or not member.is_living:
            return False
        kill(stage, member)
        return True

    sprung = stage.traps.arm(point, strike)
    if point in (Point.JOIN_ASKED, Point.JOIN_ANSWERED, Point.SYNC_ANSWERED, Point.OFFSETS_ASKED):
        # A change of the group, so that it rebalances.
        member = stage.chance.choice(stage.regulars)
        member.terminate()
        await stage.await_end(member)
        member.start()
    try:
        async with asyncio.timeout(SPRING_SECONDS_MAX):
            struck = by_name[await sprung]
    except TimeoutError:
        stage.traps.disarm(point)
        stage.phase.complaints.append(f"nothing passed the point: {point}")
        return
    # It may be the one that was stopped, and started again above.
    if not struck.is_living:
        struck.start()
