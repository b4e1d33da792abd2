"""The events that everything here is measured with: made from a seed, all different.

A pool of templates is made once, with a place for a user and for a number. So an event takes 0.5 µs
to make, and ten million of them take no memory.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from worker.core.post_api.column import Kind
from worker.core.post_api.resource import RESOURCES, Resource

TEMPLATES = 2_000
USERS = 50_000
SEED = 15
# Places in a template, as text that JSON leaves as it is.
_USER, _NUMBER = "<user>", "<number>"
# JavaScript can't write integers above 2^53 as numbers, so its producers send text.
_DEVICE, _DEVICE_TEXT = "<device>", "18446744070<user>"

# The applications and identities of rich events, with their weights: five destinations.
DESTINATIONS = (
    (1111, "profile_id", 50),
    (1111, "appmetrica_device_id", 15),
    (2222, "profile_id", 20),
    (2222, "appmetrica_device_id", 10),
    (3333, "profile_id", 5),
)
APPLICATIONS = (1111, 2222, 3333)
TWENTY_APPLICATIONS = tuple(range(7001, 7021))
# Manufacturer, model, system, its version. Apple's models have a comma, which CSV has to quote.
_APPLE = (
    ("Apple", "iPhone14,5", "ios", "17.4.1"),
    ("Apple", "iPhone15,2", "ios", "17.5"),
    ("Apple", "iPad13,18", "ios", "16.7.8"),
)
_OTHERS = (
    ("Samsung", "SM-S921B", "android", "14"),
    ("Xiaomi", "23049PCD8G", "android", "13"),
    ("HUAWEI", "ELS-NX9", "android", "12"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What events of a kind look like.

    `invalid_share` is the share of records that the worker has to dead-letter.
    """

    name: str
    description: str
    make: Callable[[random.Random, int], dict[str, Any]]
    invalid_share: float = 0.0


def rich_event(chance: random.Random, now: int) -> dict[str, Any]:
    """An event as producers of mobile apps send it."""
    (application_id, identity, _) = chance.choices(
        DESTINATIONS, [weight for *_, weight in DESTINATIONS]
    )[0]
    apple = chance.random() < 0.4
    manufacturer, model, system, version = chance.choice(_APPLE if apple else _OTHERS)
    details: dict[str, Any] = {
        "film": chance.choice(("Solaris", "Stalker", "Солярис")),
        "minutes": chance.randrange(180),
        "hd": 1,
        "number": _NUMBER,
    }
    as_text = chance.random() < 0.4
    event = {
        "application_id": application_id,
        identity: _USER if identity == "profile_id" else chance.choice((_DEVICE, _DEVICE_TEXT)),
        "event_name": chance.choice(("film_watched", "film_paused", "subscription_shown")),
        "event_timestamp": now - chance.randrange(86_400),
        "event_json": orjson.dumps(details).decode() if as_text else details,
        "session_type": chance.choice(("foreground", "background")),
        ("ios_ifv" if apple else "google_aid"): "01234567-890a-bcde-f012-3456789abcde",
        "os_name": system,
        "os_version": version,
        "device_manufacturer": manufacturer,
        "device_model": model,
        "device_type": "phone",
        "device_locale": chance.choice(("ru_RU", "en_US", "kk_KZ")),
        "app_version_name": f"4.{chance.randrange(20)}.0",
        "app_package_name": "com.example.tv",
        "connection_type": chance.choice(("wifi", "cell")),
        "operator_name": chance.choice(("MegaFon", "Beeline", "МТС")),
        "mcc": 250,
        "mnc": chance.choice((1, 2, 99)),
    }
    if chance.random() < 0.3:
        version_4 = f"198.51.100.{chance.randrange(256)}"
        version_6 = f"2a02:6b8::40c:6676:baff:{chance.randrange(65536):x}"
        event["device_ipv6"] = chance.choice((version_4, version_6))
    return event


def small_event(chance: random.Random, now: int) -> dict[str, Any]:
    """An event of few fields and one destination, none of which needs quotes."""
    return {
        "application_id": 1111,
        "profile_id": _USER,
        "event_name": "film_watched",
        "event_timestamp": now - chance.randrange(86_400),
        "event_json": {"film": "Solaris", "minutes": chance.randrange(180), "number": _NUMBER},
        "session_type": "background",
        "os_name": "android",
        "os_version": "14",
        "device_manufacturer": "Samsung",
        "device_model": "QE55Q80",
        "device_locale": "ru_RU",
    }


def resource_event(resource: Resource) -> Callable[[random.Random, int], dict[str, Any]]:
    """A maker of events of a resource: every required column, and half of the others."""

    def make(chance: random.Random, now: int) -> dict[str, Any]:
        event: dict[str, Any] = {"profile_id": f"{_USER}-{_NUMBER}"}
        for column in resource.columns:
            if column.kind is Kind.TIMESTAMP:
                event[column.name] = now - chance.randrange(86_400)
            elif column.required or chance.random() < 0.5:
                event[column.name] = orjson.loads(column.example)
        return event

    return make


def many_applications_event(chance: random.Random, now: int) -> dict[str, Any]:
    """A rich event of one of twenty applications."""
    return rich_event(chance, now) | {"application_id": chance.choice(TWENTY_APPLICATIONS)}


RICH = Shape("rich", "545 B, 23 columns, five destinations", rich_event, invalid_share=0.005)
SMALL = Shape("small", "300 B, 11 columns, one destination", small_event)
DIRTY = Shape("dirty", "rich, and 5 % of them invalid", rich_event, invalid_share=0.05)
MANY = Shape("many", "rich, of twenty applications", many_applications_event, invalid_share=0.005)
SHAPES = {shape.name: shape for shape in (RICH, SMALL, DIRTY, MANY)} | {
    name: Shape(name, f"every required column of {name} and half of the others", make)
    for name, make in ((name, resource_event(one)) for name, one in RESOURCES.items())
    if name != "events"
}


def events(shape: Shape, count: int, *, now: int, first: int = 0) -> Iterator[bytes]:
    """Values of records, each different from all others of the shape.

    Args:
        shape: what they look like.
        count: how many.
        now: the time before which all events are, in Unix seconds.
        first: the number of the first event; events of other numbers are others.
    """
    templates = _templates(shape, now)
    for number in range(first, first + count):
        yield templates[number % TEMPLATES] % {b"user": number % USERS, b"number": number}


def valid_rows(shape: Shape, count: int) -> int:
    """How many of the first events are valid."""
    every = _every(shape)
    whole, rest = divmod(count, TEMPLATES)
    return count - whole * (TEMPLATES // every) - rest // every


def _every(shape: Shape) -> int:
    """The distance between invalid events: even, so that chunks have the share that all have."""
    return round(1 / shape.invalid_share) if shape.invalid_share else TEMPLATES + 1


# A producer that paces its events asks for each by itself.
@lru_cache(maxsize=4)
def _templates(shape: Shape, now: int) -> list[bytes]:
    chance = random.Random(SEED)
    templates = [_template(shape.make(chance, now)) for _ in range(TEMPLATES)]
    every = _every(shape)
    for position, index in enumerate(range(every - 1, TEMPLATES, every)):
        templates[index] = _MISTAKES[position % len(_MISTAKES)](templates[index])
    return templates


def _template(event: dict[str, Any]) -> bytes:
    text = orjson.dumps(event).replace(b"%", b"%%")
    # A number is written without the quotes of its place.
    for quotes in (b'\\"<number>\\"', b'"<number>"', b"<number>"):
        text = text.replace(quotes, b"%(number)d")
    text = text.replace(b'"<device>"', b"18446744070%(user)06d")
    return text.replace(b"<user>", b"%(user)06d")


# What producers do wrong, in the order in which it is done.
_MISTAKES: tuple[Callable[[bytes], bytes], ...] = (
    lambda text: text.replace(b'"event_name"', b'"evnt_name"'),
    lambda text: text[:-20],
    lambda text: text.replace(b'"event_timestamp":1', b'"event_timestamp":1000000'),
    lambda text: text.replace(b'"session_type":"', b'"session_type":"side'),
    lambda text: text.replace(b'"mcc":250', b'"mcc":"none"'),
)
