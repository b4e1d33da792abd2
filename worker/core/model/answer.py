"""The result of a request, as the sink reports it and before it is classified."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TransportFault(StrEnum):
    """The reason for which a request has no usable status line.

    It never contains a URL, because the URL contains the key.

    `UPLOAD_RESET`: the connection was lost before the whole body was sent. `EARLY_ANSWER`: a 200
    was received before that, and the API can't have loaded the rows that were not sent.
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

    `retry_after` is the value of that header; `excerpt` is the start of the body, with the key
    masked. `date_unix_seconds` is the time in the header `Date`, None without a valid date.
    """

    status: int
    retry_after: str | None
    excerpt: str
    duration_seconds: float
    date_unix_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """No connection was made: the API has received none of the rows.

    `proxy_status` is a proxy's answer to the request for a tunnel to the API, None without such an
    answer.
    """

    fault: TransportFault
    duration_seconds: float
    proxy_status: int | None = None


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The request was sent and has no answer: the rows may have been loaded or not."""

    fault: TransportFault
    duration_seconds: float


Answer = Response | NotSent | Ambiguous
