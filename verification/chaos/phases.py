"""The phases of a round, each with one kind of fault."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from verification.chaos.checker import Fault
from verification.chaos.disturbances import (
    api_refuses_connections,
    api_says_503,
    api_swallows_everything,
    bad_network,
    lost_answers,
    truncate,
)
from verification.chaos.kills import labelled_kills, random_kills
from verification.chaos.members import Member
from verification.chaos.stage import STOP_SECONDS_MAX, Stage
from verification.chaos.traps import Point
from worker.sandbox.kafka_node import KafkaNode

ZOMBIE_SECONDS = (20.0, 50.0)
# How long no commit may be possible while a coordinator is dead and its successor loads.
COORDINATOR_SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Dose:
    """How many faults of each kind a round holds."""

    clean_stops: int = 10
    random_kills: int = 12
    labelled_kills: int = len(Point)
    zombies: int = 5
    broker_kills: int = 3


async def run_round(stage: Stage, dose: Dose) -> None:
    """Play a phase of every kind."""
    await clean_stops(stage, dose.clean_stops)
    await random_kills(stage, dose.random_kills)
    await labelled_kills(stage, dose.labelled_kills)
    await zombies(stage, dose.zombies)
    await broker_kills(
        stage,
        "leader broker killed",
        lambda: stage.brokers.leader(stage.topics.events, 0),
        dose.broker_kills,
    )
    await broker_kills(
        stage,
        "coordinator broker killed",
        lambda: stage.brokers.coordinator("chaos"),
        dose.broker_kills,
    )
    await api_says_503(stage)
    await api_refuses_connections(stage)
    await api_swallows_everything(stage)
    await lost_answers(stage)
    await bad_network(stage)
    await storm(stage)


# --- stops ----------------------------------------------------------------------------------------


async def stop(stage: Stage, member: Member) -> None:
    """Send SIGTERM, and check how the worker ends."""
    stage.phase.count += 1
    member.terminate()
    code = await member.wait(STOP_SECONDS_MAX)
    if code != 0:
        stage.phase.complaints.append(
            f"{member.name} ended with {code} after SIGTERM: {member.log_file}"
        )
        member.kill()


async def clean_stops(stage: Stage, count: int) -> None:
    """Restart, join and leave with a healthy API: no duplicate is allowed, and no end but 0.

    With nothing wrong a worker ends with 75 only if a refused row is the only row of its
    application in the last batch, and nothing of the application is accepted afterwards: a
    refused row of a larger batch is proven bad by its other rows (`TestABadRowAtAStop`). One row in
    `REFUSED_EVERY` is refused, and an open batch has a single row for 6 % of the time (the smaller
    application: 700 records a second / 3 workers / 4, for 0.3 s of linger). So this happens at one
    stop in 60,000, and the check makes no exception for it.
    """
    async with stage.during("SIGTERM, joins, leaves; healthy API"):
        guest = await stage.new_member()
        await stage.pause(2, 3)
        guest.start()
        await guest.await_ready()
        await stage.pause(1, 2)
        await stop(stage, guest)
        while stage.phase.count < count:
            for member in stage.regulars[: count - stage.phase.count]:
                await stop(stage, member)
                member.start()
                await member.await_ready()
                await stage.pause(0.2, 1.5)


# --- zombies --------------------------------------------------------------------------------------


async def zombies(stage: Stage, count: int) -> None:
    """Freeze workers, and resume them long after the group has given them up."""
    async with stage.during("SIGSTOP 20-50 s"):
        guests = [await stage.new_member() for _ in range(2)]
        for guest in guests:
            guest.start()
        for guest in guests:
            await guest.await_ready()
        await stage.pause(2, 3)
        low, high = ZOMBIE_SECONDS
        spans = sorted(
            (
                low + (high - low) * (index + stage.chance.random()) / count
                for index in range(count)
            ),
            reverse=True,
        )
        # One worker stays alive.
        candidates = [*stage.regulars, *guests][1:]
        lanes: list[list[float]] = [[] for _ in candidates]
        for span in spans:
            min(lanes, key=sum).append(span)
        await asyncio.gather(
            *(_lane(stage, member, lane) for member, lane in zip(candidates, lanes, strict=True))
        )
        for guest in guests:
            guest.terminate()
        for guest in guests:
            await stage.await_end(guest)


async def _lane(stage: Stage, member: Member, spans: Sequence[float]) -> None:
    for span in spans:
        await stage.pause(0, 3)
        stage.phase.count += 1
        stage.note_kill()
        member.freeze()
        await asyncio.sleep(span)
        # It sends before it learns that it was given up: at most as much as may be in flight.
        limits = stage.script.limits
        stage.phase.faults.append(
            Fault(time.time(), rows=limits.requests_in_flight * limits.rows_per_batch)
        )
        member.thaw()
        await stage.pause(3, 4)


# --- brokers --------------------------------------------------------------------------------------


async def broker_kills(
    stage: Stage, name: str, choose: Callable[[], Awaitable[KafkaNode]], count: int
) -> None:
    """Kill the leader or the coordinator, and start it again."""
    async with stage.during(name):
        topics = (stage.topics.events, stage.topics.dead_letters, "__consumer_offsets")
        for _ in range(count):
            await stage.brokers.await_in_sync(topics)
            node = await choose()
            stage.phase.count += 1
            await asyncio.to_thread(node.kill)
            await stage.pause(3, 4)
            await stage.brokers.relaunch(node)
        await stage.brokers.await_in_sync(topics)


async def storm(stage: Stage) -> None:
    """Apply all kinds of faults at once.

    No commit is possible while there is no coordinator, so the bound is wide; nothing is lost.
    """
    async with stage.during("all of these at once") as phase:
        node = await stage.brokers.coordinator("chaos")
        guest = await stage.new_member()
        guest.start()
        await stage.plan(
            {"kind": "accept_then_drop", "count": 5},
            {"kind": "status", "status": 503, "seconds": 4},
        )
        await asyncio.to_thread(node.kill)
        phase.count += 3
        for member in stage.regulars:
            await stage.pause(0.5, 2)
            phase.count += 1
            stage.note_kill(COORDINATOR_SECONDS_MAX)
            member.kill()
            await asyncio.gather(*(truncate(proxy) for proxy in stage.brokers.proxies))
            member.start()
        guest.terminate()
        await stage.brokers.relaunch(node)
        await stage.plan()
        await stage.await_end(guest)
        await stage.pause(2, 3)
        # Workers that are alive may have lost the group meanwhile.
        for _ in (*stage.regulars, guest):
            stage.note_kill(COORDINATOR_SECONDS_MAX)
