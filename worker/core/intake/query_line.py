"""One row as the query string of a request in the "params" form.

Source: the Post API's documentation: values are percent-encoded, a space is `%20` and never `+`;
RFC 3986, unreserved characters.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote


def encode(names: Iterable[str], cells: Iterable[str]) -> bytes:
    """`name=value&…` of the cells that are not empty, without the key."""
    return "&".join(
        [f"{name}={quote(cell, safe='')}" for name, cell in zip(names, cells, strict=True) if cell]
    ).encode()
