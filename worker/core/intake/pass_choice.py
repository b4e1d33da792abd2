"""The choice between the two forms of the fast pass, and the table of the compiled form.

Where the package was built with a compiler, the compiled form reads the events of routes that send
CSV with all columns. The function that `generated_pass` makes reads the others, and is its
reference: the rows of both are equal, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from worker.core.intake import dedup_key
from worker.core.intake.decode import Decode, Flatten
from worker.core.intake.fast_pass import (
    PAIR,
    ApplicationRows,
    FastPass,
    RowEnds,
    applications,
    check_of_constant,
    has_content_keys,
    is_plain_csv,
    repeated_constants,
)
from worker.core.intake.fields import Check
from worker.core.intake.generated_pass import generate_fast_pass
from worker.core.intake.layout import ColumnPlace, Layout
from worker.core.intake.line import LineFormat
from worker.core.intake.rules import IntakeRules
from worker.core.post_api.column import Column
from worker.core.post_api.resource import Identity

try:
    from worker.core.intake.compiled_pass import CompiledPass
except ImportError:
    # Built without a compiler: slower, and otherwise the same.
    CompiledPass = None  # type: ignore[assignment,misc]


class PassForm(StrEnum):
    """The form of the fast pass, as the log and `appmetrica-worker version` name it."""

    COMPILED = "compiled"
    PYTHON = "python"


PASS_FORM = PassForm.PYTHON if CompiledPass is None else PassForm.COMPILED


@dataclass(frozen=True, slots=True)
class PassTable:
    """The data of a route that the compiled pass works with.

    Attributes:
        decoder: the strict decoder, and the function that makes a tuple of its result.
        applications: by the id of an application in any usual spelling.
        places: the columns in the order of their values: the identity pair first.
        repeated: the constants that a record may repeat: the index of the value, column and check.
        usual: by index, the values that the documentation lists.
        limits: by index, the test for a cell beyond the API's limit, and the change to count.
        name: the index of the event's name; -1 without one.
        row_bytes_max: the size of a line above which it is refused.
        digests: begin the digest of a line with a profile, and with a device.
        is_content_keyed: a row without headers has the key of its content.
        ends: the producer's key, and the ends of unusual rows.
    """

    decoder: tuple[Decode, Flatten]
    applications: Mapping[int | str, ApplicationRows]
    places: tuple[ColumnPlace, ...]
    repeated: tuple[tuple[int, Column, Check], ...]
    usual: Mapping[int, frozenset[str]]
    limits: Mapping[int, tuple[Callable[[str], bool], str]]
    name: int
    row_bytes_max: int
    digests: tuple[object, object]
    is_content_keyed: bool
    ends: RowEnds


def best_fast_pass(
    rules: IntakeRules, layout: Layout, decoder: tuple[Decode, Flatten], ends: RowEnds
) -> FastPass:
    """The compiled pass of these rules where there is one, else the generated pass."""
    if CompiledPass is None or not is_plain_csv(rules):
        return generate_fast_pass(rules, layout, decoder, ends)
    return CompiledPass(_table(rules, layout, decoder, ends)).read


def _table(
    rules: IntakeRules, layout: Layout, decoder: tuple[Decode, Flatten], ends: RowEnds
) -> PassTable:
    line_format, resource = LineFormat(rules), rules.resource.name
    # In a line the identity is one cell, in the values it is the pair before all others.
    behind = PAIR - 1
    return PassTable(
        decoder=decoder,
        applications=applications(rules),
        places=layout.places,
        repeated=tuple(
            (index, column, check_of_constant(column, rules.constants[column.name]))
            for index, column in repeated_constants(layout)
        ),
        usual={cell + behind: usual for cell, _, usual in line_format.known},
        limits={cell + behind: (test, change) for cell, _, test, change in line_format.limited},
        name=line_format.name + behind if line_format.name is not None else -1,
        row_bytes_max=rules.row_bytes_max,
        digests=(
            dedup_key.line_digest(resource, Identity.PROFILE_ID),
            dedup_key.line_digest(resource, Identity.DEVICE_ID),
        ),
        is_content_keyed=has_content_keys(rules, ends),
        ends=ends,
    )
