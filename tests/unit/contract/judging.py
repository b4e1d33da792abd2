"""What the schemas and the worker say of the same value, side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jsonschema

from tests.builders import FakeRecord, make_assignment, make_rules, now_at
from worker.contract.json_schema import schema_of
from worker.core.intake.intake import Intake
from worker.core.model.fault import FieldFault
from worker.core.post_api.resource import RESOURCES


class NotJsonError(ValueError):
    """The bytes hold no JSON text."""


def parsed(value: bytes) -> Any:
    """The value as a schema's reader gets it.

    Raises:
        NotJsonError: it is no JSON, or nested more deeply than Python's reader goes.
    """
    try:
        return json.loads(value.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error)) from None


def _refuse(name: str) -> Any:
    raise NotJsonError(f"{name} is no JSON")


def _pattern(
    _: Any, pattern: str, instance: object, __: Any
) -> Iterator[jsonschema.ValidationError]:
    # As JSON Schema means it, in ECMA-262: Python's own $ matches before a last newline as well.
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})
FORMATS = jsonschema.Draft202012Validator.FORMAT_CHECKER


@lru_cache
def validator_of(resource: str) -> Any:
    """The validator of one resource, formats asserted."""
    return Validator(schema_of(RESOURCES[resource]), format_checker=FORMATS)


@lru_cache
def intake_of(resource: str) -> Intake:
    """The worker's real intake for one resource."""
    return Intake(make_rules(resource=RESOURCES[resource]))


def schema_takes(resource: str, value: bytes) -> bool:
    """True if the schema finds nothing wrong with the value."""
    return bool(validator_of(resource).is_valid(parsed(value)))


def worker_faults(resource: str, value: bytes) -> tuple[FieldFault, ...]:
    """What the worker finds wrong with the value; empty: it takes it."""
    _, rejections = intake_of(resource).read(make_assignment(), [FakeRecord(0, value)], now_at())
    return rejections[0].faults if rejections else ()
