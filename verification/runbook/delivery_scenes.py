"""Scenes of the API and of producers: holds, outages, a wrong clock, dead letters, missing keys."""

from __future__ import annotations

from typing import Any

from tests.e2e.stage import KEYS
from verification.runbook.scene import Expected, Scene, SceneFailedError, events
from verification.runbook.shell import ENDED
from worker.sandbox.emulator.faults import FaultKind, PlannedFault

HOUR = 3600
DAY = 24 * HOUR
UNKNOWN = 3333


async def application_held(scene: Scene) -> None:
    """A wrong key."""
    scene.stage.emulator.set_keys({1111: "another-key-than-the-worker-has-5b1d"})
    await scene.start()
    await scene.publish(*events(50))
    await scene.until("the application is on hold", lambda status: status["holds"])
    await scene.run(
        "Application held",
        Expected(r'"reason": "http_403"'),
        Expected(r"ok +API http://\S+ +answers"),
        Expected(r"parked records in"),
    )
    scene.stage.emulator.set_keys(KEYS)
    await scene.until("the hold is over", lambda status: not status["holds"])
    await scene.stage.await_rows(50)


async def outage(scene: Scene) -> None:
    """The API answers 503, and the oldest event is 13.5 days old."""
    scene.stage.emulator.plan(PlannedFault(FaultKind.STATUS, status=503))
    await scene.start()
    await scene.publish(*events(50, age_seconds=13.5 * DAY))
    await scene.until(
        "the breaker is open", lambda status: status["destination"]["breaker"] == "open"
    )
    connected = Expected(r"ok +brokers")
    await scene.run(
        "Not delivering", Expected(r'"breaker": "(open|probing)"'), Expected("ready"), connected
    )
    await scene.run(
        "Events expire soon",
        Expected(r'"oldest_event_seconds_left": \d+'),
        Expected(scene.stage.topic),
        Expected(r"oldest_event_seconds_left \d+"),
    )
    await scene.run(
        "Loss forecast",
        Expected(r'"loss_begins_seconds": \d+'),
        Expected(scene.stage.topic, (ENDED,)),
        Expected(r'breaker_state\{state="(open|probing)"\} 1'),
    )
    scene.stage.emulator.plan()
    await scene.stage.await_settled()
    status = await scene.until(
        "no event waits", lambda status: status["forecast"]["oldest_event_seconds_left"] is None
    )
    if status["destination"]["breaker"] not in {"closed", "ramping"}:
        raise SceneFailedError("the breaker did not close")


async def dead_letters(scene: Scene) -> None:
    """A producer has a wrong clock, and another sends an application without a key here."""
    await scene.start()
    await scene.publish(*events(10, age_seconds=-2 * DAY))
    await scene.publish(*events(30, application_id=UNKNOWN))
    await scene.until("there are dead letters", lambda status: _dead(status) == 40)
    await scene.run(
        "Dead letters",
        Expected("unknown_application"),
        Expected("unknown_application"),
        Expected(r'"unknown_application": 30'),
    )
    await scene.run(
        "Events from the future",
        Expected('"seconds_ahead"'),
        Expected("UTC|20"),
        Expected("in_future"),
    )
    await scene.stop()
    scene.keys = {**KEYS, UNKNOWN: "key-of-the-new-application-41de"}
    scene.stage.emulator.set_keys(scene.keys)
    await scene.start()
    await scene.fix("appmetrica-worker dlq replay --dry-run --reason unknown_application")
    await scene.fix("appmetrica-worker dlq replay --reason unknown_application")
    await scene.stage.await_rows(30)
    if any(await scene.metric("dlq_records_total")):
        raise SceneFailedError("dlq_records_total did not stay")


def _dead(status: dict[str, Any]) -> int:
    return sum(sum(topic["dead_lettered"].values()) for topic in status["topics"].values())


async def without_key(scene: Scene) -> None:
    """The configuration names a header for the key, and records have none."""
    await scene.start({"dedup": {"key_header": "event-id"}})
    await scene.publish(*events(30))
    await scene.stage.await_settled()
    await scene.run(
        "Records without key",
        Expected(r'"missing": 30'),
        Expected("(?i)rows|records"),
        Expected("film_watched"),
    )
    before = await scene.metric("records_without_key_total")
    await scene.start({"dedup": {"key_field": "profile_id"}})
    await scene.publish(*events(30, age_seconds=3600, profile_id="another"))
    await scene.stage.await_settled()
    if before == [0.0] or any(await scene.metric("records_without_key_total")):
        raise SceneFailedError("records_without_key_total did not stay")


async def clock_doubted(scene: Scene) -> None:
    """The clocks of the worker and of the API are six hours apart."""
    scene.stage.emulator.set_clock(6 * HOUR)
    await scene.start()
    await scene.publish(*events(10))
    await scene.until("the clock is doubted", lambda status: status["clock"]["trust"] == "doubted")
    await scene.publish(*events(10, age_seconds=HOUR))
    await scene.run(
        "Clock doubted",
        Expected(r"the local clock is doubted: 2\d{4} s behind the API's"),
        Expected(r'"seconds_ahead": -2\d{4}'),
        Expected("UTC|20"),
    )
    if await scene.metric("clock_doubted") != [1.0] or scene.stage.emulator.ledger.rows_total > 10:
        raise SceneFailedError("the worker went on with a doubted clock")
    # Only the difference counts: the API's clock is set right, in place of the node's.
    scene.stage.emulator.set_clock(0)
    await scene.until_metric("clock_doubted", 0)
    await scene.stage.await_rows(20)


async def parked_not_shrinking(scene: Scene) -> None:
    """Records were parked during a hold; after a restart the API is down."""
    settings = {"batching": {"rows_max": 20}, "limits": {"span_records_max": 50}}
    scene.stage.emulator.set_keys({1111: "another-key-than-the-worker-has-5b1d"})
    await scene.start(settings)
    await scene.publish(*events(1000))
    await _until_parked(scene)
    await scene.stop()
    scene.stage.emulator.set_keys(KEYS)
    scene.stage.emulator.plan(PlannedFault(FaultKind.STATUS, status=503))
    await scene.start(settings)
    await scene.until(
        "nothing is on hold, and the API is down",
        lambda status: not status["holds"] and status["destination"]["breaker"] == "open",
    )
    await _until_parked(scene)
    await scene.run(
        "Parked not shrinking",
        Expected(r"parked records in"),
        Expected(scene.parking_topic),
        Expected(r'"topic": ".+\.parked"'),
    )
    scene.stage.emulator.plan()
    await scene.until_metric("records_parked", 0)
    await scene.stage.await_rows(1000)


async def _until_parked(scene: Scene) -> None:
    await scene.until(
        "records are parked",
        lambda status: any(
            one["topic"] == scene.parking_topic and one["lag_records"]
            for one in status["partitions"]
        ),
    )
