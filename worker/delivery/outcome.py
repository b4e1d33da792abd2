"""What an answer means for the rows of a batch: one table, the whole of the judgement.

| answer                                  | outcome                                                              |
| --------------------------------------- | -------------------------------------------------------------------- |
| 200                                     | `Delivered`                                                          |
| 400, 422                                | `Refused`: bisect, until the guilty rows stand alone                 |
| 413                                     | `TooLarge`: split in two                                             |
| 408, 420, 425, 429, 5xx                 | `Retry`, at least `Retry-After`; 420 and 429 are throttling          |
| no connection made                      | `Retry`                                                              |
| time-out or connection lost after that  | `Retry`, ambiguous: the rows may have been loaded                    |
| everything else (401, 403, 404, 3xx, …) | `Held`: nobody may drop rows for a fault that isn't theirs           |

Only 200 is success: the documentation knows no other, and a redirect's or a proxy's 2xx would be a loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from worker.delivery.retry_after import seconds_to_wait
from worker.model.answer import Ambiguous, Answer, NotSent, Response

REFUSED_STATUSES = frozenset({400, 422})
RETRIED_STATUSES = frozenset({408, 420, 425, 429})
THROTTLING_STATUSES = frozenset({420, 429})


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


@dataclass(frozen=True, slots=True)
class Retry:
    """A passing fault: the identical bytes are to be sent again, not before `wait_seconds_min`.

    `is_ambiguous`: the rows may have been loaded, so the retry may duplicate them. `reason` is a stable code.
    """

    reason: str
    wait_seconds_min: float
    is_throttled: bool
    is_ambiguous: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A fault of the application's configuration or of something in between: the rows wait until a probe gets through."""

    reason: str


Outcome = Delivered | Refused | TooLarge | Retry | Held


def classify(answer: Answer, *, unix_seconds: float, retry_after_seconds_max: float) -> Outcome:
    """What this answer means. Total: every status and every fault has an outcome."""
    match answer:
        case NotSent(fault=fault):
            return Retry(fault.value, 0.0, is_throttled=False, is_ambiguous=False)
        case Ambiguous(fault=fault):
            return Retry(fault.value, 0.0, is_throttled=False, is_ambiguous=True)
        case Response(status=200):
            return Delivered()
        case Response(status=status) if status in REFUSED_STATUSES:
            return Refused(status)
        case Response(status=413):
            return TooLarge(413)
        case Response(status=status, retry_after=header) if status in RETRIED_STATUSES or 500 <= status <= 599:
            wait = seconds_to_wait(header, unix_seconds=unix_seconds, max_seconds=retry_after_seconds_max)
            return Retry(f"http_{status}", wait, is_throttled=status in THROTTLING_STATUSES, is_ambiguous=False)
        case Response(status=status):
            return Held(f"http_{status}")
        case _:
            assert_never(answer)


def label(outcome: Outcome) -> str:
    """The outcome's name in metrics: of a closed set."""
    match outcome:
        case Delivered():
            return "delivered"
        case Refused():
            return "refused"
        case TooLarge():
            return "too_large"
        case Retry():
            return "ambiguous" if outcome.is_ambiguous else "retried"
        case Held():
            return "held"
