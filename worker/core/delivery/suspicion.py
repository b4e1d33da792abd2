"""Batches that fail while others of their application are taken: a row of theirs makes the API
fail.

    failed twice, and something was taken meanwhile           it is halved: the good half goes on
    a piece of it fails, and something was taken meanwhile    the same: it is one request to each
    half of what is left
    no answer in time, and others as large were taken         it is halved at once: each time-out is
    long, and costs duplicates
    a single row fails, and others were taken that started
    after its last failure                                    a *strike*
    enough strikes                                            it is given up: it fails alone

To halve a batch costs a request, so any acceptance since its first attempt will do. To give a row
up costs the row. While nothing of the application is taken nobody gets a strike: an outage and a
wrong key blame no row, however long they last.

How many strikes are enough for a row depends on how the application's other requests fare
meanwhile, so that chance blames nobody either: where a share `f` of them fails, a good row fails
`n` times in a row with the chance f^n.

    given up when   n >= 5  and  f^n <= 10^-9,   f = (failed + 1) / (failed + accepted + 2)

So 5 strikes where hundreds are taken, 9 where one is taken between any two, 19 where a third of all
requests fails. Failures of a row that has 5 strikes are not counted among the others', nor is a
failure with nothing taken since the same batch's last one: bad rows don't excuse each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

from worker.core.delivery.evidence import Attempt, Evidence, Tally
from worker.core.model.batch import Batch

STRIKES_MIN = 5
# One connection may be lost for any reason; the same batch twice, and it may be the body's size
# that something doesn't bear.
CUT_OFFS_TO_SPLIT = 2
CHANCE_MAX = 1e-9
# So many failures in a row of an application of which nothing was taken in between, and it isn't a
# row that causes them.
IN_A_ROW_MAX = 5


class Failure(Enum):
    """What a failed attempt says of its batch.

    NEUTRAL: nothing, whatever failed came before the rows were looked at, or asks for patience.
    FAILED: a row of it may be the cause. TIMED_OUT, CUT_OFF (while it was sent): so may its size.
    """

    NEUTRAL = auto()
    FAILED = auto()
    CUT_OFF = auto()
    TIMED_OUT = auto()


class Decision(Enum):
    """What becomes of a batch that failed.

    RETRY: it is sent again. RETRY_SMALLER: the same, and its lane is too slow for so many rows.
    SPLIT: two halves are sent instead. HALVE: they are sent now, as suspects. GIVE_UP: its only row
    is not sent any more.
    """

    RETRY = auto()
    SPLIT = auto()
    RETRY_SMALLER = auto()
    HALVE = auto()
    GIVE_UP = auto()


@dataclass(slots=True)
class _Case:
    """What is known of one batch.

    `failures` in a row space its attempts. Since `began_at` (a moment) it has failed, last at
    `failed_at`. `tally` is how the application's requests had fared at its first failure, `counted`
    how many failures of its own are among those since. `is_alone`: it has failed again, and nothing
    was taken in between.
    """

    failures: int = 0
    strikes: int = 0
    began_at: int | None = None
    failed_at: int | None = None
    is_suspect: bool = False
    is_alone: bool = False
    tally: Tally | None = None
    counted: int = 0


class Suspicions:
    """The failures of every batch that has failed since it was last taken, refused or split.

    `evidence` says what was taken.
    """

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._cases: dict[str, _Case] = {}
        self._failed_in_a_row: dict[int, int] = {}

    def is_suspect(self, batch_id: str) -> bool:
        """True if this batch, or the one that it is a piece of, has failed while others
        were taken.
        """
        case = self._cases.get(batch_id)
        return case is not None and case.is_suspect

    def failures(self, batch_id: str) -> int:
        """How often this batch has failed in a row."""
        case = self._cases.get(batch_id)
        return case.failures if case is not None else 0

    def strikes(self, batch_id: str) -> int:
        """How often this batch has failed while others were taken."""
        case = self._cases.get(batch_id)
        return case.strikes if case is not None else 0

    def is_alone(self, batch_id: str) -> bool:
        """True if this batch has failed again and nothing else was taken in between: nobody knows
        what to make of it.
        """
        case = self._cases.get(batch_id)
        return case is not None and case.is_alone

    def is_general(self, application_id: int) -> bool:
        """True if so much of this application has failed since the last acceptance that it can't be
        one batch.
        """
        return self._failed_in_a_row.get(application_id, 0) >= IN_A_ROW_MAX

    def accept(self, batch: Batch) -> None:
        """This batch was taken: what was held against it is forgotten."""
        self._cases.pop(batch.id, None)
        self._failed_in_a_row.pop(batch.destination.application_id, None)

    def forget(self, batch_id: str) -> None:
        """This batch has come to another end, or to another judge."""
        self._cases.pop(batch_id, None)

    def replace(self, batch_id: str, *successors: Batch) -> None:
        """This batch goes on as others.

        They are as suspect as it was; strikes are against it alone.
        """
        case = self._cases.pop(batch_id, None)
        if case is not None:
            for successor in successors:
                self._cases[successor.id] = _Case(
                    case.failures,
                    began_at=case.began_at,
                    failed_at=case.failed_at,
                    is_suspect=case.is_suspect,
                )

    def halve(self, batch_id: str, *pieces: Batch) -> None:
        """This suspect goes on as these pieces, which are sent at once."""
        case = self._cases.pop(batch_id)
        for piece in pieces:
            self._cases[piece.id] = _Case(
                began_at=case.failed_at, failed_at=case.failed_at, is_suspect=True
            )

    def fail(self, batch: Batch, failure: Failure, attempt: Attempt) -> Decision:
        """This batch has failed; what becomes of it?"""
        application_id = batch.destination.application_id
        case = self._cases.setdefault(batch.id, _Case())
        case.failures += 1
        if failure is Failure.NEUTRAL:
            return Decision.RETRY
        since, case.failed_at = case.failed_at, attempt.ended
        if case.began_at is None:
            case.began_at = attempt.started
        if case.tally is None:
            case.tally = self._evidence.tally(application_id)
        is_strike = since is not None and self._evidence.newest_accepted(application_id) > since
        case.is_alone = (
            since is not None and self._evidence.last_acceptance(application_id) <= since
        )
        case.strikes += is_strike
        if since is None or is_strike:
            self._count(case, application_id)
        if not case.is_suspect:
            self._failed_in_a_row[application_id] = self._failed_in_a_row.get(application_id, 0) + 1
        if failure is Failure.TIMED_OUT and not self._evidence.has_accepted_as_many(
            batch, since or attempt.started
        ):
            return Decision.RETRY_SMALLER
        if len(batch.rows) > 1:
            is_again = case.is_suspect or since is not None
            was_any_taken = self._evidence.last_acceptance(application_id) > case.began_at
            if failure is Failure.TIMED_OUT or (is_again and was_any_taken):
                return Decision.HALVE
            is_too_large = failure is Failure.CUT_OFF and case.failures >= CUT_OFFS_TO_SPLIT
            return Decision.SPLIT if is_too_large else Decision.RETRY
        case.is_suspect |= is_strike
        return (
            Decision.GIVE_UP
            if is_strike and self._is_enough(case, application_id)
            else Decision.RETRY
        )

    def _count(self, case: _Case, application_id: int) -> None:
        """A failure that this very batch is likely to cause says nothing of the others' chances."""
        if case.strikes < STRIKES_MIN:
            case.counted += 1
            self._evidence.fail(application_id)

    def _is_enough(self, case: _Case, application_id: int) -> bool:
        if case.strikes < STRIKES_MIN or case.tally is None:
            return False
        now = self._evidence.tally(application_id)
        accepted, failed = (
            now.accepted - case.tally.accepted,
            now.failed - case.tally.failed - case.counted,
        )
        share = (failed + 1) / (failed + accepted + 2)
        return case.strikes * math.log10(share) <= math.log10(CHANCE_MAX)
