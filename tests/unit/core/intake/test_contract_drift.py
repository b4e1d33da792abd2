"""What differs from the contract is delivered, and counted by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.builders import (
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_rules,
    make_value,
    now_at,
)
from tests.unit.core.intake.reading import NESTED, cells_of, dumps, foreign, row_of
from worker.core.counters.counters import (
    CUT,
    DRIFTS_MAX,
    DROPPED,
    OTHER,
    PRECISION,
    UNKNOWN,
    ContractDrift,
    Drift,
)
from worker.core.intake.faults import NAME_CHARACTERS_MAX
from worker.core.intake.intake import Intake
from worker.core.intake.rules import InvalidOptional, UnknownFields
from worker.core.model.row import Row
from worker.core.post_api.column import PAYLOAD_BYTES_MAX
from worker.core.post_api.resource import ECOMMERCE, PROFILES, REVENUE


class TestRemarks:
    def noted(self, *values: bytes, **rules: Any) -> ContractDrift:
        drift = ContractDrift()
        records = [FakeRecord(offset, value) for offset, value in enumerate(values)]
        Intake(make_rules(**rules)).read(make_assignment(), records, now_at(), drift)
        return drift

    def test_a_value_that_the_documentation_does_not_list_is_delivered_and_counted(self) -> None:
        values = [
            make_value(os_name=name, connection_type="wifi")
            for name in ("ios", "", "tizen", "tizen")
        ]
        assert self.noted(*values).unusual_values == {"os_name": 2}
        assert cells_of(row_of(values[2]))["os_name"] == "tizen"

    @pytest.mark.parametrize("unknown_fields", UnknownFields)
    def test_an_unknown_field_is_counted_whether_it_is_refused_or_ignored(
        self, unknown_fields: UnknownFields
    ) -> None:
        values = [make_value(colour="red"), make_value(colour="red", size=5), make_value()]
        drift = self.noted(*values, unknown_fields=unknown_fields)
        assert drift.drifts == {
            Drift("purchase", "colour", UNKNOWN): 2,
            Drift("purchase", "size", UNKNOWN): 1,
        }

    def test_a_field_of_another_type_is_counted_by_the_type_it_came_as(self) -> None:
        values = [
            make_value(mcc={}),
            make_value(os_name=5.5),
            make_value(os_name=True),
            make_value(event_json=[1]),
        ]
        assert set(self.noted(*values).drifts) == {
            Drift("purchase", "mcc", "object"),
            Drift("purchase", "os_name", "number"),
            Drift("purchase", "os_name", "boolean"),
            Drift("purchase", "event_json", "array"),
        }

    @pytest.mark.parametrize(
        ("price", "payload", "expected"),
        [
            (0.30000000000000004, {}, {("price", PRECISION)}),
            ("1.0500000000", {}, set()),
            ("9999999999.12345678", {}, set()),
            ("0.000000001", {}, {("price", PRECISION)}),
            (1, {"a": "x" * (PAYLOAD_BYTES_MAX - 9)}, set()),
            (1, {"a": "x" * (PAYLOAD_BYTES_MAX - 8)}, {("payload", CUT)}),
            (1, {"a": "ы" * 16_000}, {("payload", CUT)}),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_what_is_beyond_a_limit_of_the_api_is_delivered_and_counted(
        self, price: object, payload: dict[str, str], expected: set[tuple[str, str]]
    ) -> None:
        event = {
            "application_id": 1111,
            "profile_id": "u",
            "revenue_event_type": "refund",
            "event_timestamp": UNIX_SECONDS,
            "price": price,
            "currency": "RUB",
            "product_id": "p",
            "payload": payload,
        }
        value = json.dumps(event, ensure_ascii=False).encode()
        row_of(value, resource=REVENUE)
        drifts = self.noted(value, resource=REVENUE).drifts
        assert drifts == {Drift("refund", name, change): 1 for name, change in expected}

    def test_a_value_that_is_left_out_is_counted(self) -> None:
        drifts = self.noted(
            make_value(mcc="x", os_name=5.5), invalid_optional=InvalidOptional.DROP
        ).drifts
        assert drifts == {
            Drift("purchase", "mcc", DROPPED): 1,
            Drift("purchase", "os_name", DROPPED): 1,
        }

    def test_nested_unknown_fields_are_named_by_their_path(self) -> None:
        value = dumps(foreign(user={"id": "u", "age": 5}, extra={"a": 1}))
        drift = self.noted(value, unknown_fields=UnknownFields.IGNORE, **NESTED)
        assert {drift.field for drift in drift.drifts} == {"user.age", "extra"}

    def test_a_resource_without_names_counts_under_none(self) -> None:
        value = dumps({"application_id": 1111, "profile_id": "u", "attributes": {"a": 1}, "b": 2})
        assert set(self.noted(value, resource=PROFILES).drifts) == {Drift("", "b", UNKNOWN)}

    def test_other_resources_are_counted_by_what_names_their_events(self) -> None:
        value = dumps({"ecom_event_type": "PURCHASE", "b": 2})
        assert set(self.noted(value, resource=ECOMMERCE).drifts) == {
            Drift("PURCHASE", "b", UNKNOWN)
        }

    def test_names_without_end_are_counted_together_and_kept_short(self) -> None:
        values = [
            make_value(**{f"field_{number}_{'x' * 1000}": 1}) for number in range(DRIFTS_MAX + 50)
        ]
        drifts = self.noted(*values).drifts
        assert len(drifts) == DRIFTS_MAX + 1
        assert drifts[Drift(OTHER, OTHER, UNKNOWN)] == 50
        assert max(len(drift.field) for drift in drifts) <= NAME_CHARACTERS_MAX

    def test_nobody_needs_to_take_note(self) -> None:
        assert isinstance(row_of(make_value(os_name="tizen")), Row)
