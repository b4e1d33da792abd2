"""The result of a request, as the sink reports it and before it is classified."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TransportFault(StrEnum):
    """Why a request has no status line, or none that can be used.

    Never carries a URL: the URL holds the key.

    `UPLOAD_RESET`: the connection was lost before the body was sent. `EARLY_ANSWER`: a 200 came
    before that, and nobody can have loaded what wasn't sent.
    """

    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    PROXY_REFUSED = "proxy_refused"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    BROKEN_ANSWER = "broken_answer"
    UPLOAD_RESET = "upload_reset"
    EARLY_ANSWER = "early_answer"


@dataclass(frozen=True, slots=True)
class Response:
    """A status line was received.

    `retry_after` is that header as sent; `excerpt` the start of the body, cleared of the key.

    `date_unix_seconds` is the server's time by its `Date`, None where it gave none.
    """

    status: int
    retry_after: str | None
    excerpt: str
    duration_seconds: float
    date_unix_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """The connection was never made: the API has seen nothing of the rows.

    `proxy_status` is what a proxy answered when it was asked for a tunnel to the API, None where
    none answered.
    """

    fault: TransportFault
    duration_seconds: float
    proxy_status: int | None = None


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The request was under way and no answer came: the rows may have been loaded or not."""

    fault: TransportFault
    duration_seconds: float


Answer = Response | NotSent | Ambiguous
