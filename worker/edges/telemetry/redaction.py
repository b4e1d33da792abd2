"""Keeps secrets out of everything that is written.

The API's key travels in the query string, so whatever shows a URL shows the key: a library's log
line, an exception's text. Two nets: every known secret's value, in each form that a text may give
it, and whatever follows `post_api_key=`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"

_PARAMETER = re.compile(r"(post_api_key(?:=|%3D))[^&\s'\"<>\\)]*", re.IGNORECASE)


def _forms(secret: str) -> set[str]:
    """As it may stand in a line: plain, in a URL, in a `repr` of a text or of bytes; and each of
    these within JSON.
    """
    encoded = secret.encode(errors="surrogatepass")
    forms = {
        secret,
        quote(encoded, safe=""),
        quote(encoded),
        quote_plus(encoded),
        repr(secret)[1:-1],
        repr(encoded)[2:-1],
    }
    return forms | {
        json.dumps(form, ensure_ascii=ascii_only)[1:-1]
        for form in forms
        for ascii_only in (True, False)
    }


class Redactor:
    """Masks secrets in a text. Without any, only the parameter is masked."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms: set[str] = set()
        self._secrets: re.Pattern[str] | None = None
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """Mask this one too, from now on."""
        if secret:
            self._forms |= _forms(secret)
            # The longest first: of two secrets, one may begin with the other.
            ordered = sorted(self._forms, key=len, reverse=True)
            self._secrets = re.compile("|".join(map(re.escape, ordered)))

    def redact(self, text: str) -> str:
        """The text with every secret masked."""
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        return _PARAMETER.sub(rf"\g<1>{MASK}", text)
