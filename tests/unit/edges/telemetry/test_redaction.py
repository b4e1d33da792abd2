"""What may be shown: masked in every notation, encodable, bounded."""

from __future__ import annotations

import math
import re
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from enum import Enum
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import given, strategies

from tests.leaks import leaks
from worker.edges.telemetry.redaction import (
    CHARACTERS_MAX,
    DEPTH_MAX,
    ITEMS_MAX,
    MASK,
    Redactor,
    plain,
    printable,
    text,
)

SECRET = "s3cret/key+of=ours \"'\\ключ"


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    "notation",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        repr(SECRET)[1:-1],
        repr(SECRET.encode())[2:-1],
        orjson.dumps(SECRET).decode()[1:-1],
        quote(quote(SECRET, safe=""), safe=""),
    ],
    ids=["plain", "path", "query", "form", "repr", "repr of bytes", "JSON", "a URL in a URL"],
)
def test_a_secret_is_masked_in_every_notation(notation: str) -> None:
    assert Redactor([SECRET]).redact(f"<{notation}>") == f"<{MASK}>"


@pytest.mark.parametrize("user", ["", "u", "us", "use", "user"])
@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_a_secret_within_base64_is_masked_wherever_it_begins(
    user: str, encode: Callable[[bytes], bytes]
) -> None:
    encoded = encode(f"{user}:{SECRET}:and more".encode()).decode()
    assert not leaks({"redacted": Redactor([SECRET]).redact(encoded)}, [SECRET])
    assert leaks({"as it is": encoded}, [SECRET])


def test_of_two_secrets_the_longer_is_masked_whole() -> None:
    assert Redactor(["abc", "abcdef"]).redact("x abcdef y") == "x *** y"


def test_an_unknown_key_is_masked_behind_the_parameter_s_name() -> None:
    redact = Redactor(()).redact
    assert redact("GET /x?post_api_key=abc&y=1") == "GET /x?post_api_key=***&y=1"
    assert redact("url=%2Fx%3FPOST_API_KEY%3Dabc end") == "url=%2Fx%3FPOST_API_KEY%3D*** end"


def test_a_secret_that_is_learned_later_is_masked_from_then_on() -> None:
    redactor = Redactor(())
    assert redactor.redact("a later-one") == "a later-one"
    redactor.learn("later-one")
    redactor.learn("")
    assert redactor.redact("a later-one") == "a ***"


@given(
    strategies.lists(strategies.text("ab", min_size=1, max_size=7), max_size=5),
    strategies.text("abc", max_size=30),
)
def test_secrets_are_masked_from_left_to_right_the_longest_first(
    secrets: list[str], shown: str
) -> None:
    ordered = sorted(map(re.escape, secrets), key=len, reverse=True)
    wanted = re.sub("|".join(ordered), MASK, shown) if secrets else shown
    assert Redactor(secrets).redact(shown) == wanted


def test_a_secret_costs_no_more_among_many() -> None:
    def calls(count: int) -> int:
        secrets = [f"a-secret-{number:04}" for number in range(count)]
        made = 0

        def count_call(_frame: object, _event: str, _argument: object) -> None:
            nonlocal made
            made += 1

        sys.setprofile(count_call)
        try:
            Redactor(secrets)
        finally:
            sys.setprofile(None)
        return made

    assert calls(100) < 11 * calls(10)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (2**64 - 1, 2**64 - 1),
        (2**64, "an integer of 65 bits"),
        (-(2**63) - 1, "an integer of 64 bits"),
        (1.5, 1.5),
        (math.inf, "inf"),
        ("\ud800", "\\ud800"),
        (Colour.RED, "red"),
        ((1, [2]), [1, [2]]),
        ({1: {2}}, {"1": [2]}),
        (b"x", "b'x'"),
    ],
)
def test_a_value_becomes_what_json_can_hold(value: object, shown: object) -> None:
    assert plain(value) == shown


def test_what_is_too_long_or_too_deep_is_cut() -> None:
    nested: object = "x"
    for _ in range(DEPTH_MAX + 1):
        nested = [nested]
    shown = plain(nested)
    for _ in range(DEPTH_MAX):
        assert isinstance(shown, list)
        (shown,) = shown
    assert shown == "['x']"
    many = plain(dict.fromkeys(range(ITEMS_MAX + 1)))
    assert isinstance(many, Mapping)
    assert len(many) == ITEMS_MAX


def test_half_a_secret_at_a_cut_is_not_shown() -> None:
    half = CHARACTERS_MAX // 2
    long = "a" * (half - 3) + "secret" + "b" * CHARACTERS_MAX
    shown = text(long, Redactor(["secret"]).redact)
    assert (shown[half - 4 : half], "sec" in shown) == ("a***", False)
    assert f"({len(long) - 3 - 2 * half} characters omitted)" in shown


@given(strategies.text(strategies.characters(exclude_categories=())))
def test_a_printable_text_has_no_control_character(value: str) -> None:
    shown = printable(value)
    assert shown.isprintable()
    assert shown == value or not value.isprintable()
