"""The checker finds each kind of violation, and accepts correct runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verification.chaos.checker import Evidence, Fault, Phase, Verdict, check, merged
from verification.chaos.evidence import Arrival, DeadLettered, Dropped, Ledger, Produced


def produced(number: int, kind: str = "valid", phase: str = "0") -> Produced:
    return Produced(partition=0, offset=number, number=number, kind=kind, phase=phase)


def arrival(number: int, at: float = 10.0, sender: str = "one") -> Arrival:
    return Arrival(number, at, sender)


def dead_lettered(offset: int, reason: str = "missing", at: float = 10.0) -> DeadLettered:
    return DeadLettered(partition=0, offset=offset, reason=reason, unix_seconds=at)


def phase(*faults: Fault, key: str = "0", start: float = 0.0) -> Phase:
    return Phase(
        key, f"phase {key}", start, count=len(faults), faults=list(faults), lag_seconds=1.0
    )


RIGHT = Evidence(
    produced=[
        produced(1),
        produced(2),
        replace(produced(1, "repeat"), offset=3),
        produced(4, "missing"),
        produced(5, "skipped"),
    ],
    dead_lettered=[dead_lettered(4)],
    ledger=Ledger([arrival(1), arrival(2)], [], is_complete=True),
)


def verdict_on(evidence: Evidence, *faults: Fault) -> Verdict:
    (verdict,) = check([phase(*faults)], evidence)
    return verdict


def test_a_phase_without_records_shows_nothing() -> None:
    nothing = Evidence([], [], Ledger([], [], is_complete=True))
    assert verdict_on(nothing).violations == ("no record was produced: the phase shows nothing",)


def test_a_balanced_account_has_no_violations() -> None:
    verdict = verdict_on(RIGHT)
    assert verdict.violations == ()
    assert (
        verdict.produced,
        verdict.delivered,
        verdict.repeats,
        verdict.skipped,
        verdict.dead_lettered,
        verdict.lost,
    ) == (5, 2, 1, 1, 1, 0)


def with_arrivals(*arrivals: Arrival) -> Evidence:
    return replace(RIGHT, ledger=replace(RIGHT.ledger, arrivals=list(arrivals)))


@pytest.mark.parametrize(
    ("evidence", "violation"),
    [
        pytest.param(
            with_arrivals(arrival(1)), "1 records lost", id="a valid record that never arrived"
        ),
        pytest.param(
            replace(RIGHT, dead_lettered=[]),
            "1 records lost",
            id="a bad record without a dead letter",
        ),
        pytest.param(
            with_arrivals(arrival(1), arrival(2), arrival(1)),
            "1 duplicates above the bound",
            id="a second delivery",
        ),
        pytest.param(
            replace(RIGHT, dead_lettered=[dead_lettered(4), dead_lettered(4)]),
            "1 duplicates above the bound",
            id="a second dead letter",
        ),
        pytest.param(
            with_arrivals(arrival(1), arrival(2), arrival(4)),
            "1 bad records delivered",
            id="a bad record that was delivered",
        ),
        pytest.param(
            replace(RIGHT, dead_lettered=[dead_lettered(4), dead_lettered(2)]),
            "1 dead letters of good records",
            id="a dead letter of a good record",
        ),
        pytest.param(
            replace(RIGHT, dead_lettered=[dead_lettered(4, "too_old")]),
            "1 dead letters with a wrong reason",
            id="a wrong reason",
        ),
        pytest.param(
            replace(RIGHT, ledger=replace(RIGHT.ledger, is_complete=False)),
            "the ledger has forgotten some of its entries",
            id="a ledger with gaps",
        ),
    ],
)
def test_what_is_wrong_is_a_violation(evidence: Evidence, violation: str) -> None:
    assert verdict_on(evidence).violations == (violation,)


def test_a_lag_that_stays_is_a_violation() -> None:
    (verdict,) = check([replace(phase(), lag_seconds=None)], RIGHT)
    assert verdict.violations == ("the lag did not return to 0",)


def test_after_a_kill_rows_just_delivered_or_in_flight_may_be_delivered_again() -> None:
    before = [arrival(1, 9.5), arrival(2, 8.0), arrival(5, 9.9, "two"), arrival(6, 9.8, "two")]
    evidence = Evidence(
        [produced(one.number) for one in before], [], Ledger([*before], [], is_complete=True)
    )
    assert verdict_on(evidence, Fault(10.0, window_seconds=1.0, rows=100)).bound == 102


def test_an_answer_that_the_api_withheld_allows_its_rows_once_more() -> None:
    ledger = Ledger([arrival(1), arrival(2), arrival(1)], [Dropped(1, 10.0)], is_complete=True)
    verdict = verdict_on(replace(RIGHT, ledger=ledger))
    assert (verdict.duplicates, verdict.bound, verdict.violations) == (1, 1, ())


def test_a_duplicate_belongs_to_the_phase_in_which_it_came() -> None:
    phases = [phase(), phase(key="1", start=100.0)]
    ledger = Ledger([arrival(1, 10.0), arrival(1, 110.0)], [], is_complete=True)
    first, second = check(phases, Evidence([produced(1)], [], ledger))
    assert (first.duplicates, second.duplicates) == (0, 1)


def test_rounds_are_summed_by_phase_and_keep_the_longest_lag() -> None:
    one = verdict_on(RIGHT)
    (both,) = merged([one, replace(one, lag_seconds=5.0, violations=("x",))])
    assert (both.produced, both.delivered, both.lag_seconds, both.violations) == (
        10,
        4,
        5.0,
        ("x",),
    )


def test_a_round_whose_lag_stayed_is_not_hidden_by_another() -> None:
    one = verdict_on(RIGHT)
    (both,) = merged([replace(one, lag_seconds=None), one])
    assert both.lag_seconds is None
