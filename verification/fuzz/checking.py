"""What must hold for any value.

The intake ends in a row or in faults, never in an exception. The passes agree: what the fast pass
accepts in its compiled form or in its generated form, the thorough pass accepts with the same
cells, destination and key. The emulator, which doesn't know the worker's rules, accepts the line of
every row. Every fault has a message that is safe to print.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from tests.builders import (
    APPLICATION_ID,
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_rules,
    now_at,
)
from tests.pass_forms import GeneratedReader
from worker.core.batching.batcher import header
from worker.core.counters.counters import ContractDrift
from worker.core.intake.fast_pass import FinishRow, RefuseLine
from worker.core.intake.framing import BYTE_ORDER_MARK
from worker.core.intake.intake import Intake
from worker.core.intake.reader import Reader
from worker.core.intake.rules import (
    ColumnChoice,
    Form,
    Framing,
    IntakeRules,
    InvalidOptional,
    RecordTime,
    TimeDefault,
    TimeUnit,
    UnknownFields,
)
from worker.core.model.batch import RequestForm
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.row import Row
from worker.core.post_api.resource import RESOURCES
from worker.sandbox.emulator.contract import CONTRACTS
from worker.sandbox.emulator.reader import (
    AcceptanceBounds,
    RefusedRequest,
    read_body,
    read_parameters,
    read_query,
)

APPLICATIONS = frozenset({APPLICATION_ID, 2222, 1234567890})
BOUNDS = AcceptanceBounds(APPLICATIONS, UNIX_SECONDS - 1_209_600, UNIX_SECONDS + 86_400, {})
# A found value is cut at 40 characters and a name at 64, before they are escaped: an escape takes
# up to ten characters.
FOUND_MAX, FIELD_MAX = 400, 640
# The magic byte and a schema id.
CONFLUENT = b"\0\0\0\0\7"


class DisagreementError(AssertionError):
    """A rule of this module doesn't hold for a value."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A route by which values are checked.

    `bare` reads values without the route's framing, `generated` without the compiled pass,
    `thorough` without any fast pass.
    """

    name: str
    rules: IntakeRules
    intake: Intake
    bare: Intake
    generated: Intake
    thorough: Intake


class ThoroughReader(Reader):
    """Leaves every event to the thorough pass."""

    def __init__(self, rules: IntakeRules, refuse: RefuseLine, finish: FinishRow) -> None:
        super().__init__(rules, refuse, finish)
        self.fast = _accept_nothing


def _accept_nothing(*_: object, **__: object) -> None:
    """Accept no event."""


def variants() -> list[Variant]:
    """Routes of every resource and form, some with mapped fields, constants or exact columns."""
    made = [
        _variant(f"{name}, {unknown}", resource=resource, unknown_fields=unknown)
        for name, resource in RESOURCES.items()
        for unknown in UnknownFields
    ]
    fields = {
        "event_name": ("name",),
        "profile_id": ("user", "id"),
        "os_name": ("user", "device", "os"),
    }
    return [
        *made,
        *(
            _variant(f"mapped, {one}", fields=fields, unknown_fields=one, constants={"mcc": "7"})
            for one in UnknownFields
        ),
        *(
            _variant(
                f"mapped wholes and elements, {unknown}",
                fields={
                    "event_name": ("name",),
                    "event_json": ("user",),
                    "profile_id": ("user", "id"),
                    "os_name": ("devices", 0, "os"),
                    "mcc": ("a.b",),
                },
                unknown_fields=unknown,
                key_fields=("$.user.device.os",),
            )
            for unknown in UnknownFields
        ),
        *(
            _variant(f"dropping {name}", resource=one, invalid_optional=InvalidOptional.DROP)
            for name, one in RESOURCES.items()
        ),
        *(
            _variant(
                f"timed in {unit}, {default}",
                time=RecordTime(unit, default),
                fields={
                    "event_name": ("name",),
                    "profile_id": ("user", "id"),
                    "os_name": ("user", "device", "os"),
                    "event_timestamp": ("at", 1),
                },
                key_fields=("$.at[1]", "$.name"),
                unknown_fields=UnknownFields.IGNORE,
            )
            for unit in TimeUnit
            for default in TimeDefault
        ),
        _variant("keyed events", key_fields=("$.user.id",), unknown_fields=UnknownFields.IGNORE),
        *(
            _variant(f"{form}, {one}", form=form, unknown_fields=one)
            for form in (Form.ENVELOPE, Form.CLOUDEVENTS)
            for one in UnknownFields
        ),
        *(
            _variant(f"exact {name}", resource=one, columns=ColumnChoice.EXACT)
            for name, one in RESOURCES.items()
        ),
        *(
            _variant(f"params {name}", resource=one, request=RequestForm.PARAMS)
            for name, one in RESOURCES.items()
        ),
        *(
            _variant(f"confluent {name}", resource=one, framing=Framing.CONFLUENT)
            for name, one in RESOURCES.items()
        ),
        _variant("connect events", framing=Framing.CONNECT),
    ]


def route_for(kind: str, chance: random.Random, routes: list[Variant]) -> Variant:
    """Mostly a route for such a record: other routes refuse nearly all of its mutations at once."""
    fitting = [one for one in routes if kind in one.name] if chance.random() < 0.8 else routes
    return chance.choice(fitting)


def check(
    variant: Variant, value: bytes, headers: tuple[tuple[str, bytes], ...] = ()
) -> Row | tuple[FieldFault, ...]:
    """Check one value.

    Raises:
        DisagreementError: a rule of this module doesn't hold for the value.
    """
    if variant.rules.framing is Framing.CONFLUENT and value:
        _check_framing(variant, value, headers)
        value = CONFLUENT + value
    record = FakeRecord(0, value, headers=headers)
    rows, rejections = variant.intake.read(make_assignment(), [record], now_at(), ContractDrift())
    if len(rows) + len(rejections) != 1:
        raise DisagreementError(f"{len(rows)} rows and {len(rejections)} rejections of one record")
    _check_passes(variant, record)
    if rows:
        _check_row(variant, rows[0])
        return rows[0]
    for fault in rejections[0].faults:
        _check_fault(fault)
    return rejections[0].faults


def _check_passes(variant: Variant, record: FakeRecord) -> None:
    """Check that all passes make the same row of a record, or reject it with the same faults."""
    best = _reading_of(variant.intake, record)
    for name, intake in (("generated", variant.generated), ("thorough", variant.thorough)):
        other = _reading_of(intake, record)
        if best != other:
            raise DisagreementError(f"the fast pass reads {best}, the {name} pass {other}")


def _reading_of(intake: Intake, record: FakeRecord) -> object:
    """The rows, the rejections, and what is counted."""
    drift = ContractDrift()
    return intake.read(make_assignment(), [record], now_at(), drift), drift


def _check_framing(variant: Variant, value: bytes, headers: tuple[tuple[str, bytes], ...]) -> None:
    """Check that a framed value is read as the same value without framing on a bare route."""
    expected = _ending(variant.bare, FakeRecord(0, value, headers=headers))
    framings = [(variant.intake, CONFLUENT)]
    if not value.startswith(BYTE_ORDER_MARK):
        framings.append((variant.bare, BYTE_ORDER_MARK))
    for intake, before in framings:
        what = before + value
        framed = _ending(intake, FakeRecord(0, what, headers=headers))
        if framed != expected:
            raise DisagreementError(f"{what[:8]!r} before a value changes how it is read: {framed}")


def _ending(intake: Intake, record: FakeRecord) -> tuple[bytes | None, tuple[Reason, ...]]:
    rows, rejections = intake.read(make_assignment(), [record], now_at(), ContractDrift())
    reasons = tuple(fault.reason for rejection in rejections for fault in rejection.faults)
    return rows[0].line if rows else None, reasons


def _check_row(variant: Variant, row: Row) -> None:
    contract = CONTRACTS[row.destination.resource]
    if variant.rules.request is RequestForm.PARAMS:
        query = read_query(row.line.decode("ascii"))
        taken = (
            query if isinstance(query, RefusedRequest) else read_parameters(contract, query, BOUNDS)
        )
    else:
        taken = read_body(contract, header(row.destination) + row.line, BOUNDS)
    if isinstance(taken, RefusedRequest):
        raise DisagreementError(f"the emulator refuses {row.line!r}: {taken.reason}")
    if len(taken.cells) != 1:
        raise DisagreementError(f"{len(taken.cells)} rows in one line")


def _check_fault(fault: FieldFault) -> None:
    if not fault.message:
        raise DisagreementError(f"a fault without a message: {fault}")
    if not (fault.found.isascii() and fault.found.isprintable() and len(fault.found) <= FOUND_MAX):
        raise DisagreementError(f"what was found is not safe to show: {fault!r}")
    if not (fault.field.isprintable() and len(fault.field) <= FIELD_MAX):
        raise DisagreementError(f"a field that is not safe to show: {fault!r}")


def _variant(name: str, **changes: object) -> Variant:
    return variant_of(name, make_rules(applications=APPLICATIONS, **changes))


def variant_of(name: str, rules: IntakeRules) -> Variant:
    """The route of these rules."""
    bare = Intake(replace(rules, framing=Framing.NONE))
    others = (Intake(rules, reader) for reader in (GeneratedReader, ThoroughReader))
    return Variant(name, rules, Intake(rules), bare, *others)
