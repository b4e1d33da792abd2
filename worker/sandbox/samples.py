"""Sample events as producers write them, with their mistakes: films, games, a shop.

The same seed gives the same samples. Each sample states what the worker has to do with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from worker.sandbox.import_samples import IMPORT_TIME, envelope, unselected, wrong_sample

# An event that is valid for the worker, and that the API refuses.
REFUSED_EVENT_NAME = "refused_by_the_api"

DUPLICATE_SHARE = 0.01
# Of the numbers; the topic of imports holds records that are not for AppMetrica too.
SKIPPED_EVERY = 10
INVALID_SHARE = 0.005
SECOND_APPLICATION_SHARE = 0.1
DEVICE_ID_SHARE = 0.3
# A duplicate repeats a recent event, as the retry of a producer does.
RECENT_MAX = 1000

_FILMS = (
    "The Cranes Are Flying",
    "Solaris",
    "Stalker",
    'Ivan\'s "Childhood"',
    "Ирония судьбы, или С лёгким паром!",
)
_DEVICES = (
    ("Samsung", "QE55Q80, 2023", "android", "14"),
    ("LG", "OLED55C2", "android", "13"),
    ("Apple", "iPhone 15", "ios", "17.4"),
    ("Xiaomi", "Redmi Note 12", "android", "12"),
)
_LOCALES = ("ru_RU", "en_US", "kk_KZ", "tr_TR")


@dataclass(frozen=True, slots=True)
class Sample:
    """A record, and the reason of its dead letter (empty: it is valid).

    `identifier` is the number of the event; a duplicate has the number of its original. The event
    holds it as `event_number` in the column for details. `is_import`: an envelope with another
    resource than events. `is_skipped`: the route of its topic doesn't select it. `unix_seconds`:
    the event's time.
    """

    key: bytes
    value: bytes
    identifier: int
    is_duplicate: bool
    dead_lettered_as: str
    is_import: bool = False
    is_skipped: bool = False
    unix_seconds: int = 0

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """The event's id, for imports only: the other topic shows events without an id.

        Profiles have no time, so only an id makes a profile record the repetition of another.
        """
        return [("event-id", b"%d" % self.identifier)] if self.is_import else []


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """The samples to create.

    `now` is in Unix seconds; events are of the last day. `has_refused`: one event that only the API
    refuses. `imports_share`: the share of the other four resources, in envelopes.
    """

    count: int
    now: int
    applications: tuple[int, int]
    seed: int = 1
    has_refused: bool = True
    imports_share: float = 0.0


def samples(options: SampleOptions) -> Iterator[Sample]:
    """The samples, in order."""
    chance = random.Random(options.seed)
    recent: list[Sample] = []
    for number in range(options.count):
        if options.has_refused and number == options.count // 2:
            event = _event(chance, options, number) | {"event_name": REFUSED_EVENT_NAME}
            yield _sample(event, number, "refused")
            continue
        roll = chance.random()
        if recent and roll < DUPLICATE_SHARE:
            original = chance.choice(recent)
            yield replace(original, is_duplicate=True)
            continue
        if options.imports_share and chance.random() < options.imports_share:
            sample = _import(chance, options, number)
            if not (sample.dead_lettered_as or sample.is_skipped):
                _remember(recent, sample, number)
            yield sample
            continue
        event = _event(chance, options, number)
        if roll > 1 - INVALID_SHARE:
            reason, spoil = chance.choice(_MISTAKES)
            spoiled = spoil(event, options.now)
            key = str(number).encode()
            value = spoiled if isinstance(spoiled, bytes) else orjson.dumps(spoiled)
            yield Sample(key, value, number, is_duplicate=False, dead_lettered_as=reason)
            continue
        sample = _sample(event, number, "")
        _remember(recent, sample, number)
        yield sample


def _remember(recent: list[Sample], sample: Sample, number: int) -> None:
    if len(recent) < RECENT_MAX:
        recent.append(sample)
    else:
        recent[number % RECENT_MAX] = sample


def _import(chance: random.Random, options: SampleOptions, number: int) -> Sample:
    event = _event(chance, options, number)
    unix_seconds = event["event_timestamp"]
    common = {
        name: value
        for name, value in event.items()
        if name not in ("event_name", "event_json", "event_timestamp")
    }
    # As many producers have it: under another name, and in milliseconds.
    common[IMPORT_TIME] = unix_seconds * 1000 + number % 1000
    if number % SKIPPED_EVERY == 0:
        return replace(_sample(unselected(common), number, ""), is_import=True, is_skipped=True)
    wrapped, reason = envelope(chance, common, number), ""
    if chance.random() < INVALID_SHARE:
        wrapped, reason = wrong_sample(chance, wrapped, options.now)
    sample = replace(_sample(wrapped, number, reason), is_import=True, unix_seconds=unix_seconds)
    if wrapped.get("type") != "profiles" or reason:
        return sample
    # The updates of a profile have an order, so one partition has to hold them.
    return replace(sample, key=wrapped["data"]["profile_id"].encode())


def _sample(event: dict[str, Any], number: int, dead_lettered_as: str) -> Sample:
    return Sample(
        str(number).encode(),
        orjson.dumps(event),
        number,
        is_duplicate=False,
        dead_lettered_as=dead_lettered_as,
        unix_seconds=event.get("event_timestamp", 0),
    )


def _event(chance: random.Random, options: SampleOptions, number: int) -> dict[str, Any]:
    manufacturer, model, system, version = chance.choice(_DEVICES)
    name, details = chance.choice(_EVENTS)(chance, number)
    event: dict[str, Any] = {
        "application_id": options.applications[chance.random() < SECOND_APPLICATION_SHARE],
        "event_name": name,
        "event_timestamp": options.now - chance.randrange(86_400),
        "session_type": "background",
        "os_name": system,
        "os_version": version,
        "device_manufacturer": manufacturer,
        "device_model": model,
        "device_locale": chance.choice(_LOCALES),
        "app_version_name": f"4.{number % 7}.0",
    }
    if chance.random() < DEVICE_ID_SHARE:
        # JavaScript can't write integers above 2^53 as numbers, so half of the ids are text.
        identifier = 2**64 - 1 - number
        event["appmetrica_device_id"] = str(identifier) if number % 2 else identifier
    else:
        event["profile_id"] = f"user-{chance.randrange(50_000)}"
    details["event_number"] = number
    # Producers write an object, or a string that holds the text of an object.
    event["event_json"] = orjson.dumps(details).decode() if number % 4 == 0 else details
    return event


def _film(chance: random.Random, number: int) -> tuple[str, dict[str, Any]]:
    return "film_watched", {
        "film": chance.choice(_FILMS),
        "minutes": chance.randrange(5, 180),
        "session": number,
        "quality": "4K",
    }


def _energy(chance: random.Random, number: int) -> tuple[str, dict[str, Any]]:
    return "energy_restored", {
        "amount": chance.randrange(1, 100),
        "level": {"world": 3, "stage": number % 40},
        "session": number,
    }


def _purchase(chance: random.Random, number: int) -> tuple[str, dict[str, Any]]:
    items = [
        {"sku": f"sku-{chance.randrange(1000)}", "count": chance.randrange(1, 4)} for _ in range(2)
    ]
    return "shop_purchase", {"items": items, "currency": "RUB"}


_EVENTS = (_film, _energy, _purchase)


def _without_name(event: dict[str, Any], _: int) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "event_name"}


def _broken(event: dict[str, Any], _: int) -> bytes:
    return orjson.dumps(event)[:-20]


_MISTAKES: tuple[tuple[str, Callable[[dict[str, Any], int], dict[str, Any] | bytes]], ...] = (
    ("missing", _without_name),
    ("not_json", _broken),
    ("not_an_object", lambda event, _: orjson.dumps([event])),
    ("milliseconds", lambda event, now: event | {"event_timestamp": now * 1000}),
    ("too_old", lambda event, now: event | {"event_timestamp": now - 30 * 86_400}),
    ("in_future", lambda event, now: event | {"event_timestamp": now + 7 * 86_400}),
    ("both_identities", lambda event, _: event | {"profile_id": "one", "appmetrica_device_id": 2}),
    ("wrong_type", lambda event, _: event | {"application_id": 1111.5}),
    ("unknown_field", lambda event, _: event | {"evnt_name": "typo"}),
    ("out_of_range", lambda event, _: event | {"session_type": "sideways"}),
    ("unknown_application", lambda event, _: event | {"application_id": 999_999}),
)
