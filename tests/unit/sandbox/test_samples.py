"""The sample events: their content, and an account that notices every way to lose a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

import orjson
import pytest
from aiokafka.structs import ConsumerRecord

from tests.builders import FakeRecord, make_assignment, make_rules, now_at
from tests.searches import some_of
from worker.core.intake.intake import Intake
from worker.core.intake.rules import Condition, Form, RecordTime, TimeUnit
from worker.core.post_api.resource import RESOURCES
from worker.sandbox.emulator.ledger import KeptRow
from worker.sandbox.import_samples import IMPORT_TIME, SELECTED_TYPES
from worker.sandbox.reconciliation import REASON_HEADER, reconcile
from worker.sandbox.samples import REFUSED_EVENT_NAME, Sample, SampleOptions, samples

COUNT = 5000
NOW = 1_700_000_000


@cache
def made(seed: int = 1) -> Sequence[Sample]:
    return tuple(samples(SampleOptions(COUNT, NOW, (1111, 2222), seed)))


def test_the_same_seed_gives_the_same_samples() -> None:
    assert made(7) == made.__wrapped__(7) != made(8)


@pytest.mark.parametrize("seed", some_of(range(20)))
def test_exactly_one_is_refused_by_the_api_alone(seed: int) -> None:
    refused = [sample for sample in made(seed) if REFUSED_EVENT_NAME.encode() in sample.value]
    assert [sample.dead_lettered_as for sample in refused] == ["refused"]


def test_they_hold_duplicates_mistakes_and_a_second_application() -> None:
    found = made()
    assert 0.005 < sum(sample.is_duplicate for sample in found) / COUNT < 0.02
    assert 0.002 < sum(bool(sample.dead_lettered_as) for sample in found) / COUNT < 0.01
    valid = [orjson.loads(sample.value) for sample in found if not sample.dead_lettered_as]
    assert 0.05 < sum(event["application_id"] == 2222 for event in valid) / len(valid) < 0.15


def test_imports_are_of_every_other_resource_and_the_worker_decides_as_they_say() -> None:
    rules = make_rules(
        form=Form.ENVELOPE,
        applications=frozenset({1111, 2222}),
        select=(Condition(("type",), SELECTED_TYPES),),
        time=RecordTime(TimeUnit.MILLISECONDS),
        fields={"event_timestamp": (IMPORT_TIME,)},
    )
    imports = [
        one
        for one in samples(SampleOptions(COUNT, NOW, (1111, 2222), imports_share=0.5))
        if one.is_import
    ]
    assert 0.4 < len(imports) / COUNT < 0.6
    records = [FakeRecord(offset, one.value) for offset, one in enumerate(imports)]
    intake = Intake(rules)
    selected, skipped = intake.select(records)
    assert [one.record.offset for one in skipped] == [
        offset for offset, one in enumerate(imports) if one.is_skipped
    ]
    assert skipped
    rows, rejections = intake.read(make_assignment(), selected, now_at(unix_start=NOW))
    assert {row.destination.resource for row in rows} == set(RESOURCES) - {"events"}
    assert all(
        row.event_timestamp == imports[row.record.offset].unix_seconds
        for row in rows
        if row.destination.resource != "profiles"
    )
    reasons = {rejection.record.offset: rejection.reason.value for rejection in rejections}
    assert reasons == {
        offset: one.dead_lettered_as for offset, one in enumerate(imports) if one.dead_lettered_as
    }
    assert len(set(reasons.values())) > 2


class Outcome:
    """What a faultless worker would make of the samples."""

    def __init__(self) -> None:
        self.produced = made()
        valid = [
            sample
            for sample in self.produced
            if not sample.dead_lettered_as and not sample.is_duplicate
        ]
        self.rows = [self.row(sample.identifier, sample.unix_seconds) for sample in valid]
        self.dead_letters = [self.dead_letter(one) for one in self.produced if one.dead_lettered_as]
        self.duplicates = sum(sample.is_duplicate for sample in self.produced)
        self.skipped = 0

    def row(self, number: int, unix_seconds: int) -> KeptRow:
        cells = (str(unix_seconds), f'{{"event_number":{number}}}')
        return KeptRow(0, 0, "", "events", ("event_timestamp", "event_json"), cells)

    def dead_letter(self, sample: Sample, reason: str = "") -> ConsumerRecord[bytes, bytes]:
        headers = ((REASON_HEADER, (reason or sample.dead_lettered_as).encode()),)
        return ConsumerRecord("dlq", 0, 0, 0, 0, sample.key, sample.value, None, 0, 0, headers)

    def faults(self) -> tuple[str, ...]:
        return reconcile(
            self.produced, self.rows, self.dead_letters, self.duplicates, self.skipped
        ).faults


def lose_one(outcome: Outcome) -> None:
    outcome.rows.pop()


def deliver_one_twice(outcome: Outcome) -> None:
    outcome.rows.append(outcome.rows[0])


def deliver_a_refused_one(outcome: Outcome) -> None:
    outcome.rows.append(outcome.row(COUNT // 2, 0))


def deliver_one_with_another_time(outcome: Outcome) -> None:
    first = next(sample for sample in outcome.produced if not sample.dead_lettered_as)
    outcome.rows[0] = outcome.row(first.identifier, first.unix_seconds + 1)


def dead_letter_one_twice(outcome: Outcome) -> None:
    outcome.dead_letters.append(outcome.dead_letters[0])


def dead_letter_none_of_one(outcome: Outcome) -> None:
    outcome.dead_letters.pop()


def dead_letter_for_another_reason(outcome: Outcome) -> None:
    first = next(sample for sample in outcome.produced if sample.dead_lettered_as)
    outcome.dead_letters[0] = outcome.dead_letter(first, "nonsense")


def miscount_the_duplicates(outcome: Outcome) -> None:
    outcome.duplicates += 1


def skip_one(outcome: Outcome) -> None:
    outcome.rows.pop()
    outcome.skipped += 1


def test_an_account_without_fault_balances() -> None:
    outcome = Outcome()
    assert outcome.faults() == ()
    reconciliation = reconcile(
        outcome.produced, outcome.rows, outcome.dead_letters, outcome.duplicates
    )
    assert " = " in reconciliation.equation
    assert reconciliation.dead_lettered == Counter(
        one.dead_lettered_as for one in outcome.produced if one.dead_lettered_as
    )


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lose_one, "1 events lost"),
        (deliver_one_twice, "1 rows delivered twice"),
        (deliver_one_with_another_time, "1 events delivered with another time"),
        (deliver_a_refused_one, "1 events delivered that should not be"),
        (dead_letter_one_twice, "1 records dead-lettered twice"),
        (dead_letter_none_of_one, "1 invalid records without a dead letter"),
        (dead_letter_for_another_reason, "1 dead letters with another reason than expected"),
        (miscount_the_duplicates, "-1 records that are not accounted for"),
        (skip_one, "1 records skipped that should not be, or the reverse"),
    ],
)
def test_the_account_sees(spoil: Callable[[Outcome], None], fault: str) -> None:
    outcome = Outcome()
    spoil(outcome)
    assert fault in outcome.faults()


def test_a_repeated_import_has_the_id_of_its_original_alone() -> None:
    # Profiles have no time: without an id each repetition would be delivered.
    options = SampleOptions(COUNT, NOW, (1111, 2222), imports_share=1.0, has_refused=False)
    produced = [sample for sample in samples(options) if sample.is_import]
    headers: dict[int, list[tuple[str, bytes]]] = {}
    repeated = 0
    for sample in produced:
        repeated += sample.identifier in headers
        assert headers.setdefault(sample.identifier, sample.headers) == sample.headers
    assert repeated > 0
    assert len({value for ((_, value),) in headers.values()}) == len(headers)


def test_the_account_sees_a_profile_update_that_was_overtaken() -> None:
    options = SampleOptions(COUNT, NOW, (1111, 2222), imports_share=1.0, has_refused=False)
    wrapped = [
        orjson.loads(sample.value)
        for sample in samples(options)
        if sample.is_import and not (sample.dead_lettered_as or sample.is_duplicate)
    ]
    updates = [record["data"] for record in wrapped if record["type"] == "profiles"]
    rows = [
        KeptRow(
            0,
            0,
            "",
            "profiles",
            ("application_id", "profile_id", "attributes"),
            (
                str(update["application_id"]),
                update["profile_id"],
                orjson.dumps(update["attributes"]).decode(),
            ),
        )
        for update in updates
    ]
    fault = "1 profile updates delivered after a newer one"
    assert fault not in reconcile([], rows, [], 0).faults
    first = next(n for n, row in enumerate(rows) if row.cells[:2] == rows[-1].cells[:2])
    assert fault in reconcile([], [*rows, rows[first]], [], 0).faults


def test_the_updates_of_a_profile_have_one_key() -> None:
    options = SampleOptions(COUNT, NOW, (1111, 2222), imports_share=1.0, has_refused=False)
    keys: dict[str, set[bytes]] = {}
    for sample in samples(options):
        record = orjson.loads(sample.value) if not sample.dead_lettered_as else {}
        if record.get("type") == "profiles":
            keys.setdefault(record["data"]["profile_id"], set()).add(sample.key)
    assert keys == {profile: {profile.encode()} for profile in keys}
    assert len(keys) > 1
