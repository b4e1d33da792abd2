"""Record values and headers that no producer should send, always the same for the same seed.

Each value that may still be valid carries its number in `event_name`, so that a test can identify
it among the delivered rows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from worker.core.wire.record_headers import ERRORS_PREFIX, PARKED_PREFIX

Value = bytes | None
SIZES = (100, 10_000, 1_000_000)
Headers = Sequence[tuple[str, bytes | None]]

FORGED = [PARKED_PREFIX + name for name in ("topic", "partition", "offset", "timestamp")]
FORGED += [
    ERRORS_PREFIX + name
    for name in ("reason", "detail", "topic", "partition", "offset", "timestamp", "replays")
]
HOSTILE_HEADERS: dict[str, Headers] = {
    "null": [("own", None), *((name, None) for name in FORGED)],
    "not UTF-8": [("own", b"\xff\xfe"), *((name, b"\xff\xfe") for name in FORGED)],
    "nonsense": [("", b""), ("own", b""), *((name, b"-1e9") for name in FORGED)],
    "a number of many digits": [(name, b"9" * 10_000) for name in FORGED],
    "the same name many times": [("own", b"%d" % number) for number in range(1000)],
}


@dataclass(frozen=True, slots=True)
class Hostile:
    """A value, and the name of what was done to it."""

    kind: str
    value: Value


def hostile_values(count: int, seed: int, unix_seconds: int) -> Iterator[Hostile]:
    """This many values, always the same for the same arguments.

    A twentieth is plainly valid; large ones are rare.
    """
    chance = random.Random(seed)
    makers = list(MAKERS.items())
    for number in range(count):
        kind, make = makers[number % len(makers)]
        yield Hostile(kind, make(chance, _event(chance, number, unix_seconds)))


def huge_values(seed: int, unix_seconds: int) -> Iterator[Hostile]:
    """A few of 10 MB: of one character, of noise, and in every place that takes a text."""
    chance = random.Random(seed)
    noise = chance.randbytes(5_000_000).hex()
    texts = {
        "event_name": "x" * 10_000_000,
        "profile_id": noise,
        "mcc": "я" * 5_000_000,
        "event_json": '"\\' * 2_500_000,
    }
    for number, (field, text) in enumerate(texts.items()):
        event = _event(chance, 10_000_000 + number, unix_seconds) | {field: text}
        yield Hostile(f"10 MB as {field}", json.dumps(event, ensure_ascii=False).encode())
    # As large as a request takes: it must be delivered.
    yield Hostile(
        "6 MB",
        json.dumps(
            _event(chance, 20_000_000, unix_seconds) | {"event_json": {"text": "y" * 6_000_000}}
        ).encode(),
    )
    yield Hostile("10 MB of nesting", b'{"event_json":' + b'{"a":' * 2_000_000)


def _event(chance: random.Random, number: int, unix_seconds: int) -> dict[str, object]:
    event: dict[str, object] = {
        "application_id": 1111,
        "profile_id": f"user-{chance.randrange(1000)}",
        "event_name": f"n{number}",
        "event_timestamp": unix_seconds - chance.randrange(1000),
        "event_json": {
            "film": "Солярис",
            "minutes": chance.randrange(200),
            "tags": ["a,b", 'c"d', "e\nf"],
        },
        "mcc": 250,
    }
    return event


def _text(event: dict[str, object]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def _with(event: dict[str, object], field: str, raw: bytes) -> bytes:
    """The event with a field whose JSON text is given."""
    rest = {name: value for name, value in event.items() if name != field}
    return _text(rest)[:-1] + b',"' + field.encode() + b'":' + raw + b"}"


def _truncated(chance: random.Random, event: dict[str, object]) -> Value:
    text = _text(event)
    return text[: chance.randrange(len(text))]


def _nested(chance: random.Random, event: dict[str, object]) -> Value:
    depth = chance.choice((10, 200, 1000, 1100, 5000, 50_000))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
    inner = opening * depth + b"1" + closing * depth
    return _with(
        event, chance.choice(("event_json", "unknown", "event_name")), b'{"a":' + inner + b"}"
    )


def _nested_in_text(chance: random.Random, event: dict[str, object]) -> Value:
    depth = chance.choice((10, 1000, 5000))
    return _text(event | {"event_json": '{"a":' + "[" * depth + "]" * depth + "}"})


def _huge_number(chance: random.Random, event: dict[str, object]) -> Value:
    digits = chance.choice((19, 20, 21, 400, 5000))
    number = chance.choice(
        (
            b"9" * digits,
            b"-" + b"9" * digits,
            b"1e" + b"9" * min(digits, 400),
            b"0." + b"1" * digits,
            b"1E400",
        )
    )
    return _with(
        event,
        chance.choice(
            ("mcc", "event_timestamp", "application_id", "appmetrica_device_id", "event_json")
        ),
        number,
    )


def _not_utf8(chance: random.Random, event: dict[str, object]) -> Value:
    text = bytearray(_text(event))
    bad = chance.choice(
        (
            b"\xff",
            b"\xc3(",
            b"\xe2\x28\xa1",
            b"\xf0\x9f",
            b"\xed\xa0\x80",
            b"\xc0\x80",
            b"\xf5\x80\x80\x80",
        )
    )
    place = chance.randrange(len(text))
    text[place:place] = bad
    return bytes(text)


def _surrogate(chance: random.Random, event: dict[str, object]) -> Value:
    escape = chance.choice((rb"\ud800", rb"\udfff", rb"\ud83d\u0041", rb"\ude00\ud83d"))
    field = chance.choice(("event_name", "profile_id", "os_name"))
    inside = b'{"a":"%s"}' % escape
    return (
        _with(event, "event_json", inside)
        if chance.random() < 0.5
        else _with(event, field, b'"%s"' % escape)
    )


def _nul(chance: random.Random, event: dict[str, object]) -> Value:
    name = str(event["event_name"])
    if chance.random() < 0.3:
        return _text(event)[: chance.randrange(50)] + b"\0" + _text(event)
    return _text(event | {"event_name": f"{name}\0x", "os_name": "a\0b"})


def _controls(chance: random.Random, event: dict[str, object]) -> Value:
    text = "".join(
        chr(chance.choice((*range(1, 32), 0x7F, 0x85, 0x2028, 0xFEFF, 0xFFFF, 0x1F600)))
        for _ in range(5)
    )
    return _text(event | {"os_name": text, "device_model": f'"{text}",'})


def _repeated(chance: random.Random, event: dict[str, object]) -> Value:
    field = chance.choice(("event_name", "mcc", "application_id", "event_json"))
    other = chance.choice((b"1", b'"x"', b"null", b"{}", b"[]"))
    return _with(event, field, json.dumps(event[field]).encode()).replace(
        b"{", b'{"' + field.encode() + b'":' + other + b",", 1
    )


def _long(chance: random.Random, event: dict[str, object]) -> Value:
    size = chance.choices(SIZES, weights=(90, 9, 1))[0]
    return _text(
        event | {chance.choice(("os_name", "event_json", "device_ipv6", "unknown")): "z" * size}
    )


def _mutated(chance: random.Random, event: dict[str, object]) -> Value:
    text = bytearray(_text(event))
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(text))
        match chance.randrange(4):
            case 0:
                text[place] = chance.randrange(256)
            case 1:
                del text[place]
            case 2:
                text[place:place] = chance.choice(
                    (b'"', b"{", b"}", b",", b":", b"\\", b"0", b"[", b"e")
                )
            case _:
                text[place] ^= 1 << chance.randrange(8)
    return bytes(text)


def _odd_values(chance: random.Random, event: dict[str, object]) -> Value:
    odd: list[object] = [
        None,
        True,
        [],
        {},
        "",
        " ",
        0,
        -1,
        1.5,
        "null",
        "{}",
        "[]",
        "0x1F",
        "１１１１",
        "+1",
        "1_0",
        " 1",
        "1.0",
    ]
    return _text(event | {chance.choice(list(event)): chance.choice(odd)})


def _odd_spacing(chance: random.Random, event: dict[str, object]) -> Value:
    space = chance.choice((b" ", b"\n\t\r ", b"\xef\xbb\xbf", b"\0", b"\xc2\xa0"))
    return space * chance.randrange(1, 50) + _text(event) + space


def _odd_names(chance: random.Random, event: dict[str, object]) -> Value:
    name = chance.choice(
        (
            "",
            "event_nam",
            "EVENT_NAME",
            "event_name ",
            "x" * 300,
            "\x1b[31m",
            "__proto__",
            "constructor",
        )
    )
    return _text(event | {f"{name}{chance.randrange(3)}": 1})


def _noise(chance: random.Random, _: dict[str, object]) -> Value:
    return chance.randbytes(chance.randrange(300))


def _no_object(chance: random.Random, _: dict[str, object]) -> Value:
    return chance.choice(
        (
            b"null",
            b"[]",
            b'"x"',
            b"1",
            b"true",
            b"{}",
            b"",
            b" ",
            b"nan",
            b"{},{}",
            b"{}{}",
            b"'a'",
            b"//",
            None,
        )
    )


MAKERS: dict[str, Callable[[random.Random, dict[str, object]], Value]] = {
    "valid": lambda _, event: _text(event),
    "truncated": _truncated,
    "nested": _nested,
    "nested in a text": _nested_in_text,
    "a huge number": _huge_number,
    "not UTF-8": _not_utf8,
    "a lone surrogate": _surrogate,
    "NUL": _nul,
    "control characters": _controls,
    "a repeated name": _repeated,
    "long": _long,
    "mutated": _mutated,
    "an odd value": _odd_values,
    "odd spacing": _odd_spacing,
    "an odd name": _odd_names,
    "noise": _noise,
    "no object": _no_object,
    "a tombstone": lambda _, __: None,
    "as ASCII": lambda _, event: json.dumps(event).encode(),
    "indented": lambda _, event: json.dumps(event, indent=2).encode(),
}
