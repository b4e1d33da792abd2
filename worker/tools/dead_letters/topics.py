"""Which topics hold the dead letters and the parked records of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from worker.core.intake.paths import Path, parse_path
from worker.settings.schema import Settings


class LetterKind(StrEnum):
    """The two places where a record can lie that wasn't delivered."""

    DEAD = "dead letters"
    PARKED = "parked records"


def letter_topics(
    settings: Settings, kind: LetterKind, only: Sequence[str] = ()
) -> tuple[str, ...]:
    """The topics of that kind, each once; or those that are named instead."""
    if only:
        return tuple(dict.fromkeys(only))
    if kind is LetterKind.DEAD:
        return tuple(dict.fromkeys(route.dead_letter.topic for route in settings.resolved_routes()))
    # Also where parking is switched off: what was parked before lies there, and nobody brings it
    # home.
    return tuple(
        dict.fromkeys(
            route.parking.topic or settings.parking.topic or f"{route.topic}.parked"
            for route in settings.routes
        )
    )


def named_applications(settings: Settings) -> dict[str, int | Path]:
    """By topic, the application of routes that say one for all their records, or where else than
    usual these name it.
    """
    said: dict[str, int | Path] = {}
    for route in settings.resolved_routes():
        if "application_id" in route.constants:
            said[route.topic] = int(route.constants["application_id"])
        elif "application_id" in route.fields:
            said[route.topic] = parse_path(route.fields["application_id"])
    return said


def redelivered_topics(settings: Settings, topics: Sequence[str]) -> tuple[str, ...]:
    """Those of the topics that a worker with this configuration reads itself."""
    read = {route.topic for route in settings.resolved_routes()}
    return tuple(topic for topic in topics if topic in read)
