"""The account: what was produced, how each record ended, and whether that was right.

It is written apart from the worker. Every record of the source topic ends in exactly one way:

    produced = delivered + repetitions dropped + skipped + dead-lettered + lost

A row accepted a second time, and a second dead letter for the same place, are duplicates; how many
are allowed is computed from the faults and from the ledger:

    after kill -9         what one worker delivered in the last commit interval + requests in flight
    * rows per batch
    per ambiguous answer  one batch
    otherwise           none
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from verification.chaos.evidence import DeadLettered, Ledger, Produced

VALID, REPEAT, SKIPPED = "valid", "repeat", "skipped"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that may cause duplicates.

    At most what one worker delivered in the `window_seconds` before it, and `rows` more. The ledger
    doesn't show which worker was hit: the one that had delivered the most is assumed.
    """

    unix_seconds: float
    window_seconds: float = 0.0
    rows: int = 0


@dataclass(slots=True)
class Phase:
    """A span of a run with one kind of faults.

    It begins and ends without lag, so its events belong to it. `count` is the number of faults,
    `lag_seconds` the time from the last fault until the lag was 0 (None: never).
    """

    key: str
    name: str
    start: float
    count: int = 0
    faults: list[Fault] = field(default_factory=list)
    lag_seconds: float | None = None
    complaints: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A phase as it ended. `violations` in words, empty if everything held."""

    name: str
    count: int
    produced: int
    delivered: int
    repeats: int
    skipped: int
    dead_lettered: int
    duplicates: int
    bound: int
    lost: int
    lag_seconds: float | None
    violations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The topics and the ledger, as they were read at the end."""

    produced: Sequence[Produced]
    dead_lettered: Sequence[DeadLettered]
    ledger: Ledger


def check(phases: Sequence[Phase], evidence: Evidence) -> list[Verdict]:
    """Return the verdict on each phase."""
    account = _Account(phases, evidence)
    return [account.verdict(phase) for phase in phases]


class _Account:
    def __init__(self, phases: Sequence[Phase], evidence: Evidence) -> None:
        self._starts = [phase.start for phase in phases]
        self._keys = [phase.key for phase in phases]
        self._is_complete = evidence.ledger.is_complete
        self._produced: defaultdict[str, list[Produced]] = defaultdict(list)
        for record in evidence.produced:
            self._produced[record.phase].append(record)
        self._sent: defaultdict[str, list[float]] = defaultdict(list)
        for arrival in evidence.ledger.arrivals:
            self._sent[arrival.sender].append(arrival.unix_seconds)
        self._buried = sorted(dead_letter.unix_seconds for dead_letter in evidence.dead_lettered)
        self._duplicates: Counter[str] = Counter()
        self._arrived: Counter[int] = Counter()
        for arrival in evidence.ledger.arrivals:
            self._arrived[arrival.number] += 1
            if self._arrived[arrival.number] > 1:
                self._duplicates[self._phase_at(arrival.unix_seconds)] += 1
        self._reasons: dict[tuple[int, int], str] = {}
        for dead_letter in evidence.dead_lettered:
            place = (dead_letter.partition, dead_letter.offset)
            if place in self._reasons:
                self._duplicates[self._phase_at(dead_letter.unix_seconds)] += 1
            self._reasons[place] = dead_letter.reason
        self._ambiguous: Counter[str] = Counter()
        for dropped in evidence.ledger.dropped:
            self._ambiguous[self._phase_at(dropped.unix_seconds)] += dropped.rows

    def verdict(self, phase: Phase) -> Verdict:
        """Return the verdict on one phase."""
        records = self._produced[phase.key]
        valid = {record.number for record in records if record.kind == VALID}
        bad = [record for record in records if record.kind not in (VALID, REPEAT, SKIPPED)]
        skipped = [record for record in records if record.kind == SKIPPED]
        delivered = sum(number in self._arrived for number in valid)
        dead_lettered = sum((record.partition, record.offset) in self._reasons for record in bad)
        bound = sum(map(self._allowed, phase.faults)) + self._ambiguous[phase.key]
        lost = len(valid) - delivered + len(bad) - dead_lettered
        duplicates = self._duplicates[phase.key]
        counts = {
            "records lost": lost,
            "duplicates above the bound": max(0, duplicates - bound),
            "skipped records delivered": sum(record.number in self._arrived for record in skipped),
            "bad records delivered": sum(record.number in self._arrived for record in bad),
            "dead letters of good records": sum(
                self._is_wronged(record)
                for record in records
                if record.kind in (VALID, REPEAT, SKIPPED)
            ),
            "dead letters with a wrong reason": sum(
                self._reason(record) not in (None, record.kind) for record in bad
            ),
        }
        violations = [
            f"{count} {what}" for what, count in counts.items() if count
        ] + phase.complaints
        if not records:
            violations.append("no record was produced: the phase shows nothing")
        if phase.lag_seconds is None:
            violations.append("the lag did not return to 0")
        if not self._is_complete:
            violations.append("the ledger has forgotten some of its entries")
        return Verdict(
            name=phase.name,
            count=phase.count,
            produced=len(records),
            delivered=delivered,
            repeats=sum(record.kind == REPEAT for record in records),
            skipped=len(skipped),
            dead_lettered=dead_lettered,
            duplicates=duplicates,
            bound=bound,
            lost=lost,
            lag_seconds=phase.lag_seconds,
            violations=tuple(violations),
        )

    def _reason(self, record: Produced) -> str | None:
        return self._reasons.get((record.partition, record.offset))

    def _is_wronged(self, record: Produced) -> bool:
        return self._reason(record) is not None

    def _allowed(self, fault: Fault) -> int:
        delivered = max((_within(fault, times) for times in self._sent.values()), default=0)
        return delivered + _within(fault, self._buried) + fault.rows

    def _phase_at(self, unix_seconds: float) -> str:
        return self._keys[max(0, bisect_right(self._starts, unix_seconds) - 1)]


def _within(fault: Fault, times: Sequence[float]) -> int:
    """Count the times, in ascending order, that lie in the fault's window."""
    first = bisect_right(times, fault.unix_seconds - fault.window_seconds)
    return bisect_right(times, fault.unix_seconds) - first


def merged(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Merge the phases of the same name, for runs of several rounds."""
    by_name: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_name.setdefault(verdict.name, []).append(verdict)
    return [_sum(name, group) for name, group in by_name.items()]


def _sum(name: str, group: Sequence[Verdict]) -> Verdict:
    lags = [one.lag_seconds for one in group]
    return Verdict(
        name=name,
        count=sum(one.count for one in group),
        produced=sum(one.produced for one in group),
        delivered=sum(one.delivered for one in group),
        repeats=sum(one.repeats for one in group),
        skipped=sum(one.skipped for one in group),
        dead_lettered=sum(one.dead_lettered for one in group),
        duplicates=sum(one.duplicates for one in group),
        bound=sum(one.bound for one in group),
        lost=sum(one.lost for one in group),
        lag_seconds=None
        if None in lags
        else max((lag for lag in lags if lag is not None), default=None),
        violations=tuple(violation for one in group for violation in one.violations),
    )
