"""What may be shown in a log line, in `/status` and in a metric: masked, encodable, bounded.

The API's key travels in the query string, so whatever shows a URL shows the key: a library's log
line, an exception's text. Two filters: the value of every known secret, in each notation that a
text may have, and whatever follows `post_api_key=`.

Values come from libraries, brokers, servers and producers. A value that an encoder refuses must not
cost the line, and a redacted line must still be JSON: so secrets are masked in each text before it
is encoded, never in the encoded line.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from urllib.parse import quote, quote_plus

MASK = "***"
_ESCAPE = re.compile("%[0-9A-F]{2}")
_FOR_URLS = str.maketrans("+/", "-_")
_PARAMETER = re.compile(r"(post_api_key(?:=|%3D))[^&\s'\"<>\\)]*", re.IGNORECASE)
# The number of first characters by which a notation is found, unless it is shorter.
START_CHARACTERS = 4
# A stack of a hundred frames takes about 15,000.
CHARACTERS_MAX = 64 * 1024
# More than a worker has partitions.
ITEMS_MAX = 10_000
DEPTH_MAX = 8
# The integers that orjson encodes.
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1


def _notations(secret: str) -> set[str]:
    """Return the secret in every notation: plain, in a URL, in a `repr`; each also within JSON."""
    encoded = secret.encode(errors="surrogatepass")
    in_urls = {quote(encoded, safe=""), quote(encoded), quote_plus(encoded)}
    in_urls |= {_ESCAPE.sub(lambda escape: escape[0].lower(), one) for one in in_urls}
    # A URL within a URL.
    in_urls |= {quote(one, safe="") for one in in_urls}
    notations = {secret, *in_urls, repr(secret)[1:-1], repr(encoded)[2:-1]}
    return {
        json.dumps(notation, ensure_ascii=ascii_only)[1:-1]
        for notation in notations
        for ascii_only in (True, False)
    } | {*notations, *_base64(encoded)}


def _base64(secret: bytes) -> Iterator[str]:
    """Yield the secret in base64, wherever it begins in what was encoded: `user:password`, say.

    Without the characters at both ends that also depend on its neighbours there.
    """
    for shift in range(3):
        whole = b64encode(b"\0" * shift + secret).decode()
        inner = whole[-(-shift * 4 // 3) : (shift + len(secret)) * 4 // 3]
        # Of a secret of one byte nothing may be left; an empty notation would be found everywhere.
        if inner:
            yield inner
            yield inner.translate(_FOR_URLS)


class Redactor:
    """Masks secrets in a text. Without known secrets, only the parameter is masked.

    Secrets are found by their first characters, however many there are: of a thousand applications,
    or of a token that is rotated every hour. A pattern of all secrets would have to be compiled
    after each new secret, which takes 0.3 s of the event loop for a thousand of them.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._starts = _Starts(START_CHARACTERS, {})
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """Mask this secret too, from now on."""
        if not secret:
            return
        notations = _notations(secret)
        shortest = min(map(len, notations))
        if shortest < self._starts.characters:
            notations |= self._starts.notations()
            self._starts = _Starts(shortest, {})
        for notation in notations:
            self._starts.add(notation)

    def redact(self, text: str) -> str:
        """Return the text with every secret masked."""
        return _PARAMETER.sub(rf"\g<1>{MASK}", self._starts.masked(text))


@dataclass(frozen=True, slots=True)
class _Starts:
    """Notations by their first characters; of those with the same start the longest is first.

    Other threads may read while one adds.
    """

    characters: int
    by_start: dict[str, tuple[str, ...]]

    def notations(self) -> set[str]:
        return {notation for same in self.by_start.values() for notation in same}

    def add(self, notation: str) -> None:
        start = notation[: self.characters]
        same = {*self.by_start.get(start, ()), notation}
        self.by_start[start] = tuple(sorted(same, key=len, reverse=True))

    def masked(self, text: str) -> str:
        """Mask from left to right; of several notations at a place, the longest."""
        count, by_start = self.characters, self.by_start
        if not by_start:
            return text
        # One slice and one look-up for each character: 70 ns.
        places = [at for at in range(len(text) - count + 1) if text[at : at + count] in by_start]
        parts: list[str] = []
        done = 0
        for at in places:
            same = by_start[text[at : at + count]]
            found = next((one for one in same if at >= done and text.startswith(one, at)), None)
            if found is not None:
                parts += (text[done:at], MASK)
                done = at + len(found)
        return "".join((*parts, text[done:]))


def plain(value: object, redact: Callable[[str], str] = str, depth: int = DEPTH_MAX) -> object:
    """Return the value as JSON can hold it: nested None, boolean, number, text, list, dictionary.

    Long texts and deeply nested values are cut.
    """
    match value:
        case None | bool():
            return value
        case int():
            # Not as text: `str` refuses integers of thousands of digits.
            return (
                int(value)
                if INTEGER_MIN <= value <= INTEGER_MAX
                else f"an integer of {value.bit_length()} bits"
            )
        case float():
            return float(value) if math.isfinite(value) else repr(float(value))
        case str():
            return text(value, redact)
        case Enum():
            return plain(value.value, redact, depth)
        case Mapping() if depth:
            items = islice(value.items(), ITEMS_MAX)
            return {
                text(str(name), redact): plain(inner, redact, depth - 1) for name, inner in items
            }
        case list() | tuple() | set() | frozenset() if depth:
            members: Iterable[object] = islice(value, ITEMS_MAX)
            return [plain(inner, redact, depth - 1) for inner in members]
        case _:
            return text(str(value), redact)


def text(value: str, redact: Callable[[str], str] = str) -> str:
    """Return the text without secrets and unpaired surrogates.

    A long text loses its middle: both ends of a stack matter.
    """
    # Masked before it is cut: half a secret isn't recognised.
    whole = redact(value).encode(errors="backslashreplace").decode()
    if len(whole) <= CHARACTERS_MAX:
        return whole
    half = CHARACTERS_MAX // 2
    return f"{whole[:half]}… ({len(whole) - 2 * half} characters omitted) …{whole[-half:]}"


def printable(value: str) -> str:
    """Return the text for a terminal: control characters and line breaks are escaped."""
    if value.isprintable():
        return value
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in value)
