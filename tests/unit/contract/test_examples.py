"""Every example of docs/schema: schema and intake agree, or the schema can't express the rule."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from tests.unit.contract.files import EXAMPLES
from tests.unit.contract.judging import schema_takes, worker_faults
from worker.contract.beyond import RULES
from worker.core.post_api.resource import RESOURCES


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """A line of an `.invalid.jsonl`."""

    about: str
    reasons: list[str]
    value: msgspec.Raw
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Invalid:
    """One bad record, and why it is bad."""

    resource: str
    line: Line

    @property
    def value(self) -> bytes:
        return bytes(self.line.value)


VALID = [
    (name, line)
    for name in RESOURCES
    for line in (EXAMPLES / f"{name}.valid.jsonl").read_bytes().splitlines()
]
INVALID = [
    Invalid(name, line)
    for name in RESOURCES
    for line in msgspec.json.Decoder(Line).decode_lines(
        (EXAMPLES / f"{name}.invalid.jsonl").read_bytes()
    )
]


@pytest.mark.parametrize(("resource", "value"), VALID)
def test_schema_and_worker_take_a_valid_example(resource: str, value: bytes) -> None:
    assert worker_faults(resource, value) == ()
    assert schema_takes(resource, value)


@pytest.mark.parametrize("example", INVALID, ids=lambda one: f"{one.resource}: {one.line.about}")
def test_the_worker_refuses_an_invalid_example_for_its_reasons(example: Invalid) -> None:
    assert [
        fault.reason.value for fault in worker_faults(example.resource, example.value)
    ] == example.line.reasons


@pytest.mark.parametrize("example", INVALID, ids=lambda one: f"{one.resource}: {one.line.about}")
def test_the_schema_refuses_it_too_unless_a_rule_is_beyond_it(example: Invalid) -> None:
    assert schema_takes(example.resource, example.value) is bool(example.line.rule)


def test_a_rule_that_an_example_names_is_one_for_its_reasons() -> None:
    rules = {rule.name: rule for rule in RULES}
    for example in INVALID:
        if example.line.rule:
            assert set(example.line.reasons) <= rules[example.line.rule].reasons, example.line.about


def test_every_rule_that_a_line_can_show_has_an_example() -> None:
    # These take more than a line, or what not every reader of JSON takes: `test_agreement.py` has
    # them.
    assert {one.line.rule for one in INVALID} >= {rule.name for rule in RULES} - {
        "half a character",
        "depth",
        "size",
        "not JSON",
    }
