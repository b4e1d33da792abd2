"""The faults, one kind after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.chaos.checker import Fault
from tests.chaos.members import Member
from tests.chaos.proxy import Proxy
from tests.chaos.stage import Stage
from tests.chaos.traps import Point
from worker.sandbox.kafka import KafkaNode

STOP_SECONDS_MAX = 30.0
SPRING_SECONDS_MAX = 20.0
ZOMBIE_SECONDS = (20.0, 50.0)
OUTAGE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Dose:
    """How many faults of each kind a round holds."""

    clean_stops: int = 10
    random_kills: int = 13
    labelled_kills: int = len(Point)
    zombies: int = 5
    broker_kills: int = 3


async def run_round(stage: Stage, dose: Dose) -> None:
    """Every kind of faults once."""
    await clean_stops(stage, dose.clean_stops)
    await random_kills(stage, dose.random_kills)
    await labelled_kills(stage, dose.labelled_kills)
    await zombies(stage, dose.zombies)
    await broker_kills(stage, "leader broker killed", lambda: stage.brokers.leader(stage.topics.events, 0), dose.broker_kills)
    await broker_kills(stage, "coordinator broker killed", lambda: stage.brokers.coordinator("chaos"), dose.broker_kills)
    await outages(stage)
    await lost_answers(stage)
    await bad_network(stage)


# --- stops -----------------------------------------------------------------------------------------------------------------


async def stop(stage: Stage, member: Member) -> None:
    """SIGTERM, and the end that it must have."""
    stage.phase.count += 1
    member.terminate()
    code = await member.wait(STOP_SECONDS_MAX)
    if code != 0:
        stage.phase.complaints.append(f"{member.name} ended with {code} after SIGTERM: {member.log_file}")
        member.kill()


async def clean_stops(stage: Stage, count: int) -> None:
    """Rolling restarts, joins and leaves, with a healthy API: not one duplicate."""
    async with stage.during("SIGTERM, joins, leaves; healthy API"):
        guest = await stage.new_member()
        await _pause(stage, 2, 3)
        guest.start()
        await guest.await_ready()
        await _pause(stage, 1, 2)
        await stop(stage, guest)
        while stage.phase.count < count:
            for member in _regulars(stage)[: count - stage.phase.count]:
                await stop(stage, member)
                member.start()
                await member.await_ready()
                await _pause(stage, 0.2, 1.5)


# --- kills -----------------------------------------------------------------------------------------------------------------


def kill(stage: Stage, member: Member) -> None:
    """SIGKILL."""
    stage.phase.count += 1
    stage.note_kill()
    member.kill()


async def random_kills(stage: Stage, count: int) -> None:
    """At any moment, now and then two at once."""
    async with stage.during("SIGKILL at random"):
        await _pause(stage, 1, 2)
        while stage.phase.count < count:
            together = 2 if stage.chance.random() < 0.2 and stage.phase.count + 2 <= count else 1
            victims = stage.chance.sample(_regulars(stage), together)
            for member in victims:
                kill(stage, member)
            for member in victims:
                member.start()
            await victims[0].await_ready()
            await _pause(stage, 0.0, 1.5)


async def labelled_kills(stage: Stage, count: int) -> None:
    """At the points where it hurts."""
    async with stage.during("SIGKILL at labelled points"):
        points = [*Point] * (count // len(Point) + 1)
        for point in points[:count]:
            await _kill_at(stage, point)
            await _pause(stage, 0.2, 0.8)


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
        # Something for the group to rebalance about.
        member = stage.chance.choice(_regulars(stage))
        member.terminate()
        await member.wait(STOP_SECONDS_MAX)
        member.start()
    try:
        async with asyncio.timeout(SPRING_SECONDS_MAX):
            struck = by_name[await sprung]
    except TimeoutError:
        stage.traps.disarm(point)
        stage.phase.complaints.append(f"nothing passed the point: {point}")
        return
    struck.start()
    await struck.await_ready()


# --- zombies ---------------------------------------------------------------------------------------------------------------


async def zombies(stage: Stage, count: int) -> None:
    """Stopped in the middle of everything, and back long after the group has given them up."""
    async with stage.during("SIGSTOP 20-50 s"):
        guests = [await stage.new_member() for _ in range(2)]
        for guest in guests:
            guest.start()
        for guest in guests:
            await guest.await_ready()
        await _pause(stage, 2, 3)
        low, high = ZOMBIE_SECONDS
        spans = sorted((low + (high - low) * (index + stage.chance.random()) / count for index in range(count)), reverse=True)
        # One of all lives on. The shortest spans share a lane.
        candidates = [*_regulars(stage), *guests][1:]
        lanes = [spans[index :: len(candidates)] for index in range(len(candidates))]
        await asyncio.gather(*(_lane(stage, member, lane) for member, lane in zip(candidates, lanes, strict=True)))
        for guest in guests:
            guest.terminate()
        for guest in guests:
            await guest.wait(STOP_SECONDS_MAX)


async def _lane(stage: Stage, member: Member, spans: Sequence[float]) -> None:
    for span in spans:
        await _pause(stage, 0, 3)
        stage.phase.count += 1
        stage.note_kill()
        member.freeze()
        await asyncio.sleep(span)
        # What it is about to send it sends before it learns that it was given up: as much as may be in flight.
        limits = stage.script.limits
        stage.phase.faults.append(Fault(time.time(), rows=limits.requests_in_flight * limits.rows_per_batch))
        member.thaw()
        await _pause(stage, 3, 4)


# --- brokers ---------------------------------------------------------------------------------------------------------------


async def broker_kills(stage: Stage, name: str, choose: Callable[[], Awaitable[KafkaNode]], count: int) -> None:
    """The one that matters is killed, and comes back."""
    async with stage.during(name):
        topics = (stage.topics.events, stage.topics.dead_letters, "__consumer_offsets")
        for _ in range(count):
            await stage.brokers.await_in_sync(topics)
            node = await choose()
            stage.phase.count += 1
            await asyncio.to_thread(node.kill)
            await _pause(stage, 3, 5)
            await stage.brokers.relaunch(node)
        await stage.brokers.await_in_sync(topics)


# --- the API ---------------------------------------------------------------------------------------------------------------


async def outages(stage: Stage) -> None:
    """It says 503, it refuses connections, it swallows everything; and the group changes meanwhile."""
    async with stage.during("API outage, joins and leaves during it") as phase:
        guest = await stage.new_member()
        await _pause(stage, 1, 2)
        await stage.plan({"kind": "status", "status": 503, "seconds": OUTAGE_SECONDS + 3})
        await asyncio.sleep(1)
        guest.start()
        await guest.await_ready()
        await asyncio.sleep(OUTAGE_SECONDS)
        phase.count += 1
        proxies = [member.proxy for member in stage.members]
        before = stage.answers_withheld()
        for proxy in proxies:
            proxy.shut()
        await asyncio.sleep(1)
        guest.terminate()
        await guest.wait(STOP_SECONDS_MAX)
        await asyncio.sleep(OUTAGE_SECONDS - 1)
        for proxy in proxies:
            await proxy.open()
        phase.count += 1
        await _pause(stage, 2, 3)
        for proxy in proxies:
            proxy.swallow()
        await asyncio.sleep(OUTAGE_SECONDS + 3)
        for proxy in proxies:
            proxy.flow()
        phase.count += 1
        await _pause(stage, 2, 3)
        stage.note_ambiguous(stage.answers_withheld() - before)


async def lost_answers(stage: Stage) -> None:
    """The API takes the rows in, and its answer is lost. The ledger knows which."""
    async with stage.during("accepted, then the answer lost") as phase:
        await _pause(stage, 1, 2)
        for _ in range(2):
            await stage.plan(
                {"kind": "accept_then_drop", "count": 6},
                {"kind": "reset_after", "count": 4},
                {"kind": "broken_body", "count": 4},
                {"kind": "reset_during", "count": 4},
            )
            phase.count += 18
            await _pause(stage, 4, 5)
        await stage.plan()


async def bad_network(stage: Stage) -> None:
    """Latency, resets, black holes, half-open connections and truncated answers, before the API and before the brokers."""
    async with stage.during("bad network before API and brokers") as phase:
        before = stage.answers_withheld()
        kinds: list[Callable[[Proxy], Awaitable[None]]] = [_slow, _cut, _swallow, _half_open, _truncate]
        for kind in kinds:
            phase.count += 1
            await asyncio.gather(*(kind(member.proxy) for member in stage.members))
            await _pause(stage, 0.5, 1)
        for kind in kinds:
            phase.count += 1
            # The members may lose the group over it, as if they had been killed.
            for _ in _regulars(stage):
                stage.note_kill()
            await asyncio.gather(*(kind(proxy) for proxy in stage.chance.sample(stage.brokers.proxies, 2)))
            await _pause(stage, 0.5, 1)
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


async def _truncate(proxy: Proxy) -> None:
    proxy.truncate(3)
    await asyncio.sleep(2)


def _regulars(stage: Stage) -> list[Member]:
    return stage.members[: stage.script.members]


async def _pause(stage: Stage, low: float, high: float) -> None:
    await asyncio.sleep(stage.chance.uniform(low, high))
