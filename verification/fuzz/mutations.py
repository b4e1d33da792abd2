"""Values for the fuzzer: valid records of every form, and mutations of them; repeatable by seed."""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable

from tests.builders import UNIX_SECONDS
from tests.fixtures import fixtures

Headers = tuple[tuple[str, bytes], ...]
BINARY: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_source", b"/shop"),
    ("ce_type", b"t"),
    ("ce_time", b"2023-11-14T22:13:20Z"),
    ("content-type", b"application/json"),
)

# Values at the edges of types: JSON texts, some of them invalid.
TOKENS = [
    *(
        b"null true false 0 -0 1 -1 7 999 1000 1111 01 1.0 1.5 1e3 1e-5 1E400 1e999999999 -1e-7 "
        b".5 1. + NaN Infinity".split()
    ),
    *(
        b'"" "0" "007" "1111" "1e5" "1.50" "-1" "+1" " 1" "1_0" "null" "{}" "[]" "[a,b]" '
        b'"[a,,b]" "{" "::1" "1.2.3.4"'.split()
    ),
    *(
        b'"%eth0" "::1%eth0" "foreground" "background" {} [] [1] ["a"] ["a","b"] [null] [[]] '
        b'["a,b"] {"a":1} {"a":null}'.split()
    ),
    *(
        b'{"a":1,"a":2} {"a":{"b":[]}} "\\u0000" "\\ud83d\\ude42" "\\ud800" '
        b'"{\\"\\\\ud800\\":1}" "{\\"a\\":1}"'.split()
    ),
    str(2**53 + 1).encode(),
    str(2**63).encode(),
    str(2**64 - 1).encode(),
    str(2**64).encode(),
    b'"%d"' % (2**64 - 1),
    b"1" * 400,
    b'"' + b"9" * 5000 + b'"',
    b"%d" % UNIX_SECONDS,
    b'"0%d"' % UNIX_SECONDS,
    b"%d" % (UNIX_SECONDS * 1000),
    b"%d999999999" % UNIX_SECONDS,
    b'"%d.5"' % UNIX_SECONDS,
    b"%d.999e0" % UNIX_SECONDS,
    b'"2023-11-14T22:13:20.5Z"',
    b'"2023-11-15 01:13:20+0300"',
    b'"2023-11-14T22:13:20"',
    b'"' + "Ирония, \U0001f642 \u2028\x85".encode() + b'"',
    b'"a\\"b,c\\r\\nd"',
    b'"\xff\xfe"',
    b'{"\xff":1}',
    b'{"a":"\xff"}',
    b"[" * 2000,
    b'{"a":' * 600 + b"1" + b"}" * 600,
    b'{"a":' * 2000,
]
BYTES = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\\u",
    b"\0",
    b"\n",
    b" ",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"e",
    b".",
    b"-",
]


# The time of an event in each unit, and an event without a time.
_TIMES = [
    *(b'"at":[0,%d%s]' % (UNIX_SECONDS, digits) for digits in (b"", b"000", b"000999", b"9" * 9)),
    *(b'"at":["",%s]' % text for text in (b'"2023-11-14T22:13:20.5Z"', b'"%d.5"' % UNIX_SECONDS)),
    b'"at":[]',
]


class Mutator:
    """Draws values.

    Args:
        seed: what makes the draws repeatable.
    """

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        made = [value for one in fixtures() for value in one.values]
        # The fixtures are of 2009; the events are checked as of 2023.
        self._plain = [
            re.sub(rb'("event_timestamp":)\d+', rb"\g<1>%d" % UNIX_SECONDS, value) for value in made
        ]
        mapped = (
            b'{"application_id":1111,"name":"n","event_timestamp":%d,"user":{"id":"u","device":{"os":"ios"}}}'
            % UNIX_SECONDS
        )
        elements = mapped[:-1] + b',"devices":[{"os":"ios"}],"a.b":250}'
        self._names = sorted(
            {name for value in (*self._plain, elements) for name in json.loads(value)}
            | {"x", "", "type", "data", "id"}
        )
        kinds = [one.resource for one in fixtures() for _ in one.values]
        timed = [mapped.replace(b'"event_timestamp":%d' % UNIX_SECONDS, at) for at in _TIMES]
        self._plain += [mapped, elements, *timed]
        enveloped = [
            b'{"type":"%s","data":%s}' % (kind.encode(), value)
            for kind, value in zip(kinds, self._plain, strict=False)
        ]
        attributes = (
            b'{"specversion":"1.0","id":"1","source":"/s","type":"t",'
            b'"time":"2023-11-14T22:13:20+03:00",'
        )
        clouded = [attributes + b'"data":%s}' % value for value in self._plain]
        clouded += [
            attributes + b'"data_base64":"%s"}' % base64.b64encode(value)
            for value in self._plain[:3]
        ]
        self._kinds = (
            [*kinds, "mapped", "mapped", *["timed"] * len(timed)] * 3
            + ["envelope"] * len(enveloped)
            + ["cloudevents"] * len(clouded)
        )
        self._seeds = self._plain * 3 + enveloped + clouded

    def draw(self) -> tuple[str, bytes, Headers]:
        """The kind of a valid record, its value after up to four mutations, and its headers."""
        chance = self._chance
        index = chance.randrange(len(self._seeds))
        value = self._seeds[index]
        for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 4))):
            value = chance.choice(_MUTATIONS)(self, value)
        return self._kinds[index], value, self._headers()

    def _headers(self) -> Headers:
        chance = self._chance
        if chance.random() < 0.7:
            return ()
        headers = [one for one in BINARY if chance.random() < 0.95]
        if chance.random() < 0.2:
            odd = chance.choice(
                (
                    b"",
                    b"\xff",
                    b"application/cloudevents+json",
                    b"text/xml",
                    b"1.1",
                    b"0001-01-01T00:00:00+23:59",
                )
            )
            headers.append((chance.choice(BINARY)[0], odd))
        return tuple(headers)

    # --- what is done to a value ------------------------------------------------------------------

    def token(self, value: bytes) -> bytes:
        """Another value for one of the fields."""
        starts = [index for index in range(len(value)) if value[index : index + 1] == b":"]
        if not starts:
            return value
        start = self._chance.choice(starts) + 1
        end = _end_of_value(value, start)
        return value[:start] + self._chance.choice(TOKENS) + value[end:]

    def field(self, value: bytes) -> bytes:
        """Another field, perhaps with a name that exists already, before or behind the others."""
        member = (
            json.dumps(self._chance.choice(self._names)).encode()
            + b":"
            + self._chance.choice(TOKENS)
        )
        return (
            b"{" + member + b"," + value[1:]
            if self._chance.random() < 0.5
            else value[:-1] + b"," + member + b"}"
        )

    def rename(self, value: bytes) -> bytes:
        """Another name for one of the fields."""
        old, new = (self._chance.choice(self._names).encode() for _ in range(2))
        return value.replace(b'"%s":' % old, b'"%s":' % new, 1)

    def splice(self, value: bytes) -> bytes:
        """The start of this value and the end of another."""
        other = self._chance.choice(self._seeds)
        return (
            value[: self._chance.randrange(len(value) + 1)]
            + other[self._chance.randrange(len(other) + 1) :]
        )

    def flip(self, value: bytes) -> bytes:
        """Another byte in place of one."""
        if not value:
            return value
        index = self._chance.randrange(len(value))
        return value[:index] + bytes((self._chance.randrange(256),)) + value[index + 1 :]

    def insert(self, value: bytes) -> bytes:
        """Inserted bytes."""
        index = self._chance.randrange(len(value) + 1)
        return value[:index] + self._chance.choice(BYTES) + value[index:]

    def cut(self, value: bytes) -> bytes:
        """The value without a piece."""
        start = self._chance.randrange(len(value) + 1)
        return value[:start] + value[start + self._chance.randrange(1, 20) :]


_MUTATIONS: list[Callable[[Mutator, bytes], bytes]] = [
    *[Mutator.token] * 6,
    *[Mutator.field] * 3,
    *[Mutator.rename] * 2,
    Mutator.splice,
    Mutator.flip,
    Mutator.insert,
    Mutator.cut,
]


def _end_of_value(value: bytes, start: int) -> int:
    """The approximate end of the JSON value that starts here."""
    depth, in_string, index = 0, False, start
    while index < len(value):
        byte = value[index : index + 1]
        if in_string:
            index += byte == b"\\"
            in_string = byte != b'"'
        elif byte == b'"':
            in_string = True
        elif byte in (b"{", b"["):
            depth += 1
        elif byte in (b"}", b"]", b",") and depth == 0:
            return index
        elif byte in (b"}", b"]"):
            depth -= 1
        index += 1
    return index
