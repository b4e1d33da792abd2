"""Applications on hold: a fault that isn't the rows' (a wrong key, an unknown path) stops that application and nothing else.

Nothing is dropped and nobody has to come: once per interval one waiting batch is sent as a probe, and when the API takes it
all the others follow.

A hold that would stop its neighbours *parks*: what waits goes to the parking topic, and so does what comes later. The parking
topic is read by the same workers, so its records wait under the hold as well, and are what probes are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from worker.model.batch import Batch
from worker.model.clock import Now
from worker.model.record import Assignment
from worker.model.snapshot import HoldStatus

SYSTEMIC = "refused_systemically"


@dataclass(slots=True)
class _Waiting:
    """A batch under a hold, with what the rule of parking asks of it."""

    batch: Batch
    probes: int = 0
    size_bytes: int = field(init=False)
    first_offsets: dict[Assignment, int] = field(init=False)

    def __post_init__(self) -> None:
        self.size_bytes = sum([row.size_bytes for row in self.batch.rows])
        self.first_offsets = {}
        for row in self.batch.rows:
            offset = row.record.offset
            self.first_offsets[row.assignment] = min(offset, self.first_offsets.get(row.assignment, offset))


@dataclass(slots=True)
class _Hold:
    reason: str
    since_unix_seconds: float
    probe_due_seconds: float
    waiting: list[_Waiting] = field(default_factory=list)
    probe: _Waiting | None = None
    is_parking: bool = False


class Holds:
    """The applications on hold, each with its waiting batches. `probe_seconds` is the time between two probes of one."""

    def __init__(self, probe_seconds: float) -> None:
        self._probe_seconds = probe_seconds
        self._holds: dict[int, _Hold] = {}

    def reason(self, application_id: int) -> str | None:
        """Why this application is on hold; None if it isn't."""
        hold = self._holds.get(application_id)
        return hold.reason if hold is not None else None

    def is_probe(self, batch: Batch) -> bool:
        """True if this batch is its application's probe under way."""
        hold = self._holds.get(batch.destination.application_id)
        return hold is not None and hold.probe is not None and hold.probe.batch is batch

    def begin(self, application_id: int, reason: str, now: Now) -> None:
        """Put the application on hold, or note the newer reason of the hold it is under."""
        hold = self._holds.get(application_id)
        if hold is None:
            due = now.monotonic_seconds + self._probe_seconds
            self._holds[application_id] = _Hold(reason, now.unix_seconds, due)
        else:
            hold.reason = reason

    def try_again(self, application_id: int, monotonic_seconds: float) -> None:
        """If this application is on hold, its next probe is due now."""
        hold = self._holds.get(application_id)
        if hold is not None:
            hold.probe_due_seconds = monotonic_seconds

    def add(self, batch: Batch) -> None:
        """Let this batch wait. Its application must be on hold."""
        self._holds[batch.destination.application_id].waiting.append(_Waiting(batch))

    @property
    def is_parking(self) -> bool:
        """True if any application's records go to the parking topic."""
        return any(hold.is_parking for hold in self._holds.values())

    def diverts(self, application_id: int) -> bool:
        """True if this application's records go to the parking topic."""
        hold = self._holds.get(application_id)
        return hold is not None and hold.is_parking

    def lacks_probe(self, application_id: int) -> bool:
        """True if nothing is left here by which the hold could heal: then a record has to come the ordinary way."""
        hold = self._holds.get(application_id)
        return hold is not None and not hold.waiting and hold.probe is None

    def take_for_parking(self, wide: Mapping[Assignment, int], *, bytes_min: int, topics: Collection[str]) -> list[Batch]:
        """The waiting batches of applications that alone keep others from going on; they park from now on.

        Args:
            wide: the partitions that are paused for their span, each with its first unsettled offset. Where that is a record
                on hold, the hold is what pauses it.
            bytes_min: where the batches of one application take so much, they alone keep the memory full.
            topics: whose records may be parked.
        """
        taken: list[Batch] = []
        for hold in self._holds.values():
            mine = [waiting for waiting in hold.waiting if waiting.batch.rows[0].assignment.topic in topics]
            pins = any(wide.get(assignment) == offset for one in mine for assignment, offset in one.first_offsets.items())
            if pins or (mine and sum(one.size_bytes for one in mine) >= bytes_min):
                hold.is_parking = True
                hold.waiting = [waiting for waiting in hold.waiting if waiting not in mine]
                taken.extend(waiting.batch for waiting in mine)
        return taken

    def assignments(self) -> set[Assignment]:
        """The partitions that have rows waiting under a hold."""
        return {assignment for hold in self._holds.values() for one in hold.waiting for assignment in one.first_offsets}

    def due(self, monotonic_seconds: float) -> Batch | None:
        """A probe whose time has come, taken out of the waiting batches; it is under way from now on.

        The batch probed least often goes first, the smallest among those: one bad batch can't keep a healed application held.
        """
        for hold in self._holds.values():
            if hold.probe is None and hold.waiting and hold.probe_due_seconds <= monotonic_seconds:
                chosen = min(hold.waiting, key=lambda waiting: (waiting.probes, len(waiting.batch.rows)))
                hold.waiting.remove(chosen)
                chosen.probes += 1
                hold.probe = chosen
                return chosen.batch
        return None

    def end_probe(self, batch: Batch, successor: Batch | None, monotonic_seconds: float, *, wait_seconds_min: float) -> None:
        """The probe under way failed. `successor` is what is left of its batch, to wait again; None if nothing is."""
        hold, probe = self._probe(batch)
        if successor is not None:
            hold.waiting.append(_Waiting(successor, probe.probes))
        hold.probe = None
        hold.probe_due_seconds = monotonic_seconds + max(self._probe_seconds, wait_seconds_min)

    def narrow_probe(self, batch: Batch, part: Batch, rest: Batch) -> None:
        """Only a part of the probe asks; the rest waits on, and counts as having been asked with.

        If it is refused, that part asks again only after all rows of the rest: what hasn't been asked with comes first.
        """
        hold, probe = self._probe(batch)
        hold.probe = _Waiting(part, probe.probes + len(rest.rows))
        hold.waiting.append(_Waiting(rest, probe.probes))

    def replace_probe(self, batch: Batch, successor: Batch | None, monotonic_seconds: float) -> None:
        """The probe lost rows before it was sent. None if nothing is left: then another is due at once."""
        hold, probe = self._probe(batch)
        hold.probe = _Waiting(successor, probe.probes) if successor is not None else None
        hold.probe_due_seconds = monotonic_seconds

    def _probe(self, batch: Batch) -> tuple[_Hold, _Waiting]:
        hold = self._holds[batch.destination.application_id]
        if hold.probe is None or hold.probe.batch is not batch:
            raise RuntimeError(f"batch {batch.id} is not the probe of application {batch.destination.application_id}")
        return hold, hold.probe

    def heal(self, application_id: int) -> list[Batch]:
        """End the hold; returns the batches that waited, in the order in which they came."""
        return [waiting.batch for waiting in self._holds.pop(application_id).waiting]

    def replace_waiting(self, transform: Callable[[Batch], Batch | None]) -> None:
        """Pass every waiting batch through `transform`: it stays, is replaced, or (None) goes."""
        for hold in self._holds.values():
            passed = [(waiting, transform(waiting.batch)) for waiting in hold.waiting]
            hold.waiting = [_Waiting(batch, waiting.probes) for waiting, batch in passed if batch is not None]

    def waiting(self) -> list[Batch]:
        """Every batch that waits under a hold."""
        return [waiting.batch for hold in self._holds.values() for waiting in hold.waiting]

    def next_deadline(self) -> float | None:
        """When the next probe is due, in monotonic seconds; None where nothing waits for one."""
        dues = [hold.probe_due_seconds for hold in self._holds.values() if hold.waiting and hold.probe is None]
        return min(dues, default=None)

    def status(self, now: Now) -> list[HoldStatus]:
        """Every hold, for operators."""
        return [
            HoldStatus(
                application_id=application_id,
                reason=hold.reason,
                since_unix_seconds=hold.since_unix_seconds,
                next_probe_unix_seconds=now.unix_seconds + max(0.0, hold.probe_due_seconds - now.monotonic_seconds),
                rows=sum(len(waiting.batch.rows) for waiting in hold.waiting)
                + (len(hold.probe.batch.rows) if hold.probe is not None else 0),
                is_parking=hold.is_parking,
            )
            for application_id, hold in self._holds.items()
        ]
