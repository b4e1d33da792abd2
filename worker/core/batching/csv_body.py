"""The header line of a request's body.

A body is this header and the rows' lines. UTF-8 without a byte order mark, `\\n` after each line.
Source: the Post API's documentation, "body" form; RFC 4180.
"""

from __future__ import annotations

from worker.core.model.row import Destination
from worker.core.post_api.resource import RESOURCES


def header(destination: Destination) -> bytes:
    """The line that names the columns of every row of this destination.

    Parameter names need no quoting.
    """
    names = RESOURCES[destination.resource].header(destination.identity)
    return (
        ",".join(name for index, name in enumerate(names) if destination.filled >> index & 1) + "\n"
    ).encode()


def no_header(_: Destination) -> bytes:
    """In the form `params` each row names its own columns."""
    return b""
