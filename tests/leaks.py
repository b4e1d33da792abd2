"""Searches text for secrets in every notation that a program may write them in."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus


def notations(secret: str) -> dict[str, str]:
    """The secret as it may stand in a text, by the name of the notation."""
    data = secret.encode()
    found = {
        "plain": secret,
        "percent-encoded": quote(secret, safe=""),
        "percent-encoded path": quote(secret),
        "percent-encoded form": quote_plus(secret),
        "percent-encoded in lower case": re.sub(
            "%..", lambda escape: escape[0].lower(), quote(secret, safe="")
        ),
        "percent-encoded twice": quote(quote(secret, safe=""), safe=""),
        "repr": repr(secret)[1:-1],
        "repr of bytes": repr(data)[2:-1],
        "JSON": json.dumps(secret)[1:-1],
    }
    for shift in range(3):
        # Within a longer text, as in `Authorization: Basic`: without the characters at both ends,
        # which also depend on the text's neighbours.
        whole = b64encode(b"\0" * shift + data).decode()
        core = whole[-(-shift * 4 // 3) : (shift + len(data)) * 4 // 3]
        found[f"base64, {shift} bytes later"] = core
        found[f"base64 for URLs, {shift} bytes later"] = core.translate({43: "-", 47: "_"})
    return found


def leaks(captured: Mapping[str, str], secrets: Iterable[str]) -> list[str]:
    """Each secret that is in a text: the text's name, the notation, the place."""
    return [
        f"{name}: {notation} of {secret[:4]}… in {_around(text, written)!r}"
        for secret in secrets
        for notation, written in notations(secret).items()
        for name, text in captured.items()
        if written in text
    ]


def _around(text: str, part: str) -> str:
    place = text.index(part)
    return text[max(0, place - 80) : place + len(part) + 20]
