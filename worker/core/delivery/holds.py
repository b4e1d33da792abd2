"""Applications on hold: a fault that isn't in the rows stops only its application.

Such a fault is a wrong key or an unknown path. No row is dropped: once per interval one waiting
batch is sent as a probe, and when the API accepts it, the other batches follow.

If a hold would stop other applications, it *parks*: the waiting records and all later records of
its application go to the parking topic. The same workers read the parking topic, so these records
wait under the hold as well, and become its probes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from worker.core.counters.snapshot import HoldStatus
from worker.core.delivery.held_batches import Choice, HeldBatch, HeldBatches, HeldPartitions
from worker.core.model.batch import Batch
from worker.core.model.clock import Now
from worker.core.model.record import Assignment

SYSTEMIC = "refused_systemically"


@dataclass(slots=True)
class _Hold:
    reason: str
    since_unix_seconds: float
    probe_due_seconds: float
    forbidden_at: int | None
    waiting: HeldBatches
    probe: HeldBatch | None = None
    is_parking: bool = False
    # The waiting batches that are to go to the parking topic.
    chosen: Choice | None = None

    def rows(self) -> int:
        """How many rows are here, those of the probe included."""
        probe = len(self.probe.batch.rows) if self.probe is not None else 0
        return probe + sum(len(batch.rows) for batch in self.waiting.batches())


# After this many failed probes, a row of the batch may be the reason: a firewall may answer 403 to
# certain texts.
WHOLE_PROBES_MAX = 3


class Holds:
    """The applications on hold, each with its waiting batches.

    `probe_seconds` is the time between two probes of an application.
    """

    def __init__(self, probe_seconds: float) -> None:
        self._probe_seconds = probe_seconds
        self._holds: dict[int, _Hold] = {}
        self.partitions = HeldPartitions()

    def reason(self, application_id: int) -> str | None:
        """Why this application is on hold; None if it isn't."""
        hold = self._holds.get(application_id)
        return hold.reason if hold is not None else None

    def is_probe(self, batch: Batch) -> bool:
        """True if this batch is its application's probe under way."""
        hold = self._holds.get(batch.destination.application_id)
        return hold is not None and hold.probe is not None and hold.probe.batch is batch

    def was_often_tried(self, probe: Batch) -> bool:
        """True if this batch was a failed probe more than WHOLE_PROBES_MAX times."""
        return self._probe(probe)[1].probes > WHOLE_PROBES_MAX

    def begin(
        self, application_id: int, reason: str, now: Now, *, forbidden_at: int | None = None
    ) -> None:
        """Put the application on hold, or note the newer reason of the hold it is under.

        `forbidden_at`: the moment at which the forbidden request started; None where no single
        request is the reason.
        """
        hold = self._holds.get(application_id)
        if hold is None:
            due = now.monotonic_seconds + self._probe_seconds
            waiting = HeldBatches(self.partitions)
            self._holds[application_id] = _Hold(
                reason, now.unix_seconds, due, forbidden_at, waiting
            )
        else:
            hold.reason, hold.forbidden_at = reason, forbidden_at

    def is_disproved(self, application_id: int, accepted_at: int) -> bool:
        """True if a request that started after the forbidden one, at `accepted_at`, succeeded."""
        hold = self._holds.get(application_id)
        return (
            hold is not None and hold.forbidden_at is not None and accepted_at > hold.forbidden_at
        )

    def try_again(self, application_id: int, monotonic_seconds: float) -> None:
        """If this application is on hold, its next probe is due now."""
        hold = self._holds.get(application_id)
        if hold is not None:
            hold.probe_due_seconds = monotonic_seconds

    def postpone(self, application_id: int, monotonic_seconds: float) -> None:
        """If this application is on hold, its next probe is not due before then."""
        hold = self._holds.get(application_id)
        if hold is not None:
            hold.probe_due_seconds = max(hold.probe_due_seconds, monotonic_seconds)

    def add(self, batch: Batch, *, probes: int = 0) -> None:
        """Let this batch wait, after `probes` failed probes; its application must be on hold."""
        self._holds[batch.destination.application_id].waiting.add(batch, probes)

    @property
    def is_parking(self) -> bool:
        """True if any application's records go to the parking topic."""
        return any(hold.is_parking for hold in self._holds.values())

    def goes_to_parking(self, application_id: int) -> bool:
        """True if this application's records go to the parking topic."""
        hold = self._holds.get(application_id)
        return hold is not None and hold.is_parking

    def lacks_untried(self, application_id: int) -> bool:
        """True if the application is on hold and every batch here was a probe before.

        All of them may have bad rows: then a newly received row has to be the next probe.
        """
        hold = self._holds.get(application_id)
        return hold is not None and hold.probe is None and not hold.waiting.has_untried

    def choose_for_parking(
        self, over_span: Mapping[Assignment, int], *, bytes_min: int, topics: Collection[str]
    ) -> None:
        """Choose the batches of holds that alone stop other applications; they park from now on.

        Args:
            over_span: the partitions that are paused for their span, each with its first unsettled
                offset. If that record is on hold, the hold is the cause of the pause.
            bytes_min: if the batches of one application take this much, they alone keep the
                memory full.
            topics: the topics whose records may be parked.
        """
        for hold in self._holds.values():
            size_bytes = hold.waiting.size_bytes(topics)
            if hold.chosen is not None or not size_bytes:
                continue
            if size_bytes >= bytes_min or hold.waiting.pins(over_span, topics):
                hold.is_parking = True
                hold.chosen = hold.waiting.choice(topics)

    @property
    def has_chosen(self) -> bool:
        """True until `take_chosen` has found that nothing chosen is left."""
        return any(hold.chosen is not None for hold in self._holds.values())

    def take_chosen(self, rows_max: int) -> list[Batch]:
        """Take chosen batches of one application, of about `rows_max` rows, in order of arrival."""
        for hold in self._holds.values():
            if hold.chosen is not None:
                taken = hold.waiting.take_chosen(hold.chosen, rows_max)
                if taken:
                    return taken
                hold.chosen = None
        return []

    def due(self, monotonic_seconds: float) -> Batch | None:
        """A probe that is due, taken out of the waiting batches; it is under way from now on.

        It is the batch that was a probe least often, the smallest of several: so one bad batch
        can't keep an application on hold that the API accepts again.
        """
        for hold in self._holds.values():
            if hold.probe is None and hold.waiting and hold.probe_due_seconds <= monotonic_seconds:
                chosen = hold.waiting.pop_for_probe()
                chosen.probes += 1
                hold.probe = chosen
                return chosen.batch
        return None

    def end_probe(
        self,
        batch: Batch,
        successor: Batch | None,
        monotonic_seconds: float,
        *,
        wait_seconds_min: float,
    ) -> None:
        """End a probe that failed.

        `successor` has the rows of its batch that wait again; None if none is left.
        """
        hold, probe = self._probe(batch)
        if successor is not None:
            hold.waiting.add(successor, probe.probes)
        hold.probe = None
        hold.probe_due_seconds = monotonic_seconds + max(self._probe_seconds, wait_seconds_min)

    def narrow_probe(self, batch: Batch, part: Batch, rest: Batch | None) -> None:
        """Make a part of the batch the probe; the rest waits again, as if it had been a probe too.

        If the part is refused, it is a probe again only after all rows of the rest, because rows
        that were no probe yet come first. `rest` is None if the rest waits elsewhere.
        """
        hold, probe = self._probe(batch)
        rows_left = len(batch.rows) - len(part.rows)
        hold.probe = HeldBatch(part, probe.probes + rows_left)
        if rest is not None:
            hold.waiting.add(rest, probe.probes)

    def replace_probe(
        self, batch: Batch, successor: Batch | None, monotonic_seconds: float
    ) -> None:
        """Replace a probe that lost rows before it was sent.

        `successor` is None if no row is left: then another probe is due at once.
        """
        hold, probe = self._probe(batch)
        hold.probe = HeldBatch(successor, probe.probes) if successor is not None else None
        hold.probe_due_seconds = monotonic_seconds

    def _probe(self, batch: Batch) -> tuple[_Hold, HeldBatch]:
        hold = self._holds[batch.destination.application_id]
        if hold.probe is None or hold.probe.batch is not batch:
            raise RuntimeError(
                f"batch {batch.id} is not the probe of application "
                f"{batch.destination.application_id}"
            )
        return hold, hold.probe

    def heal(self, application_id: int) -> list[Batch]:
        """End the hold; returns the batches that waited, in order of arrival."""
        return self._holds.pop(application_id).waiting.take_all()

    def replace_waiting(self, transform: Callable[[Batch], Batch | None]) -> None:
        """Pass every waiting batch through `transform`: it stays, is replaced, or (None) goes."""
        for hold in self._holds.values():
            hold.waiting.replace(transform)

    def of(self, application_id: int, topics: Collection[str]) -> list[Batch]:
        """The batches of these topics under the hold of this application, its probe included."""
        hold = self._holds.get(application_id)
        if hold is None:
            return []
        probe = [hold.probe] if hold.probe is not None and hold.probe.topic in topics else []
        return [*(held.batch for held in probe), *hold.waiting.of(topics)]

    def waiting(self) -> list[Batch]:
        """Every batch that waits under a hold."""
        return [batch for hold in self._holds.values() for batch in hold.waiting.batches()]

    def next_deadline(self) -> float | None:
        """When the next probe is due, in monotonic seconds; None where nothing waits for one."""
        dues = [
            hold.probe_due_seconds
            for hold in self._holds.values()
            if hold.waiting and hold.probe is None
        ]
        return min(dues, default=None)

    def status(self, now: Now) -> list[HoldStatus]:
        """The holds, for operators.

        Without those that have no row although their next probe is due: their rows have left with
        their partitions, or were parked, and the next row is sent at once.
        """
        return [
            HoldStatus(
                application_id=application_id,
                reason=hold.reason,
                since_unix_seconds=hold.since_unix_seconds,
                next_probe_unix_seconds=now.unix_seconds
                + max(0.0, hold.probe_due_seconds - now.monotonic_seconds),
                rows=rows,
                is_parking=hold.is_parking,
            )
            for application_id, hold in self._holds.items()
            if (rows := hold.rows()) or now.monotonic_seconds < hold.probe_due_seconds
        ]
