"""The meaning of an answer for the rows of a batch.

    200                                       Delivered
    400, 422                                  Refused: bisected until the bad rows stand alone
    413                                       TooLarge: split in two
    408, 420, 425, 429, 5xx                   Retry, not before `Retry-After`; 420 and 429 throttle
    no connection                             Retry; where a proxy refused it, by the proxy's status
    connection lost while the body was sent   Retry, ambiguous; the second time the batch is split
    connection lost after that                Retry, ambiguous: the rows may have been loaded
    no answer in time, a gateway's 504        Retry, timed out: the rows may have been loaded, and
                                              a request of fewer rows may be fast enough
    everything else (401, 403, 404, 3xx, …)   Held: the fault isn't in the rows, so none is dropped

Only 200 is success. The documentation names no other status, and a proxy's 2xx doesn't show that
the API has loaded the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from worker.core.model.answer import Ambiguous, Answer, NotSent, Response, TransportFault
from worker.core.wire.http_date import unix_seconds_of

REFUSED_STATUSES = frozenset({400, 422})
# No sensible wait has more digits. int() of a hostile header with thousands of digits would raise.
DIGITS_MAX = 9


@dataclass(frozen=True, slots=True)
class Delivered:
    """The rows are loaded."""


@dataclass(frozen=True, slots=True)
class Refused:
    """At least one row is at fault, and no row was loaded."""

    status: int


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The body is larger than the API takes."""

    status: int


class RetryKind(Enum):
    """The cause of a retry.

    THROTTLED: the API requests fewer requests. FAILED: the API answered with an error. AMBIGUOUS:
    the request was sent and got no answer, so a retry may duplicate its rows. TIMED_OUT: as
    AMBIGUOUS, because the API takes too long. NOT_SENT: the API couldn't be reached. EARLY: the API
    asks for the same request again. CUT_OFF: as AMBIGUOUS, but the connection was lost while the
    body was being sent, so the body may be too large.
    """

    THROTTLED = auto()
    FAILED = auto()
    AMBIGUOUS = auto()
    TIMED_OUT = auto()
    NOT_SENT = auto()
    EARLY = auto()
    CUT_OFF = auto()


@dataclass(frozen=True, slots=True)
class Retry:
    """A passing fault: the identical bytes are to be sent again, not before `wait_seconds_min`.

    `reason` is a stable code.
    """

    reason: str
    wait_seconds_min: float
    kind: RetryKind


@dataclass(frozen=True, slots=True)
class Held:
    """A fault of the application's configuration or of a proxy: the rows wait for a probe."""

    reason: str


# The rows of these requests may have been loaded: a retry may duplicate them.
AMBIGUOUS = frozenset({RetryKind.AMBIGUOUS, RetryKind.TIMED_OUT, RetryKind.CUT_OFF})

# Every 5xx that isn't listed here is FAILED.
RETRIED_STATUSES = {
    408: RetryKind.FAILED,
    420: RetryKind.THROTTLED,
    425: RetryKind.EARLY,
    429: RetryKind.THROTTLED,
    504: RetryKind.TIMED_OUT,
}

Outcome = Delivered | Refused | TooLarge | Retry | Held


def classify(answer: Answer, *, unix_seconds: float, retry_after_seconds_max: float) -> Outcome:
    """The outcome of this answer: every status and every fault has an outcome."""
    match answer:
        case NotSent(proxy_status=int(status)):
            # A proxy's 502 ends by itself. 407 and other 4xx are faults of the configuration.
            reason = f"proxy_{status}"
            return Retry(reason, 0.0, RetryKind.NOT_SENT) if _passes(status) else Held(reason)
        case NotSent(fault=fault):
            return Retry(fault.value, 0.0, RetryKind.NOT_SENT)
        case Ambiguous(fault=TransportFault.UPLOAD_RESET as fault):
            return Retry(fault.value, 0.0, RetryKind.CUT_OFF)
        case Ambiguous(fault=TransportFault.TIMEOUT as fault):
            return Retry(fault.value, 0.0, RetryKind.TIMED_OUT)
        case Ambiguous(fault=fault):
            return Retry(fault.value, 0.0, RetryKind.AMBIGUOUS)
        case Response(status=200):
            return Delivered()
        case Response(status=status) if status in REFUSED_STATUSES:
            return Refused(status)
        case Response(status=413):
            return TooLarge(413)
        case Response(status=status, retry_after=header) if _passes(status):
            wait = seconds_to_wait(
                header, unix_seconds=unix_seconds, max_seconds=retry_after_seconds_max
            )
            return Retry(f"http_{status}", wait, RETRIED_STATUSES.get(status, RetryKind.FAILED))
        case Response(status=status):
            return Held(f"http_{status}")
        case _:
            assert_never(answer)


def _passes(status: int) -> bool:
    """True if a later attempt may get another answer."""
    return status in RETRIED_STATUSES or 500 <= status <= 599


def seconds_to_wait(header: str | None, *, unix_seconds: float, max_seconds: float) -> float:
    """How long a `Retry-After` header asks to wait from now, from 0 to `max_seconds`.

    It is a number of seconds or an HTTP date; 0 where it is absent or unreadable.

    Source: RFC 9110, section 10.2.3.
    """
    if header is None:
        return 0.0
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), max_seconds) if len(text) <= DIGITS_MAX else max_seconds
    date = unix_seconds_of(text)
    return 0.0 if date is None else min(max(date - unix_seconds, 0.0), max_seconds)


def label(outcome: Outcome) -> str:
    """The outcome's name in metrics, out of a closed set."""
    match outcome:
        case Delivered():
            return "delivered"
        case Refused():
            return "refused"
        case TooLarge():
            return "too_large"
        case Retry():
            return "ambiguous" if outcome.kind in AMBIGUOUS else "retried"
        case Held():
            return "held"


def wait_seconds_min(outcome: Outcome) -> float:
    """How long the API asks to wait, in seconds; 0 where it doesn't ask."""
    return outcome.wait_seconds_min if isinstance(outcome, Retry) else 0.0
