"""The reader of one resource's events: from an event's JSON to its row.

The fast pass reads nearly all events; the thorough pass reads what the fast pass doesn't accept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from worker.core.counters.counters import ContractDrift
from worker.core.intake.decode import DECODE_FAILURES, Unknown, decode_key, value_decoder
from worker.core.intake.dedup_key import UnusableKey, joined
from worker.core.intake.explain import Cells, explain
from worker.core.intake.fast_pass import (
    ChunkReading,
    FastPass,
    FinishRow,
    InvalidEvent,
    ProducerKey,
    RefuseLine,
    RowEnds,
    applications,
)
from worker.core.intake.faults import shown_name
from worker.core.intake.forms import Unwrapped
from worker.core.intake.json_object import note_unknown, object_fields, unknown_names, value_at
from worker.core.intake.layout import Layout
from worker.core.intake.pass_choice import best_fast_pass
from worker.core.intake.rules import IntakeRules, TimeWindow, UnknownFields
from worker.core.model.fault import FieldFault
from worker.core.model.record import Record
from worker.core.model.row import Destination, Row
from worker.core.post_api.column import Kind
from worker.core.post_api.resource import Identity

# A valid event as the thorough pass reads it: its destination, its cells in the order of its line
# (empty for absent columns), and its producer's key.
ValidEvent = tuple[Destination, list[str], ProducerKey]


class Reader:
    """The two passes over the events of one resource.

    `fast` is the fast pass. Tests make another form of it than the best.

    Args:
        rules: what an event of the resource must be.
        refuse: the rejection of a line that is too large.
        finish: adds the key to a row.
    """

    make_fast_pass = staticmethod(best_fast_pass)

    def __init__(self, rules: IntakeRules, refuse: RefuseLine, finish: FinishRow) -> None:
        self._rules = rules
        self._layout = layout = Layout.of(rules)
        decode, self._flatten = value_decoder(rules, layout, Unknown.FORBID)
        is_lenient = rules.unknown_fields is UnknownFields.IGNORE
        self._lenient = value_decoder(rules, layout, Unknown.SKIP)[0] if is_lenient else None
        self._timestamp = next(
            (place for place in layout.places if place.column.kind is Kind.TIMESTAMP), None
        )
        self._applications = applications(rules)
        self._key_indexes = [layout.paths.index(key) for key in layout.keys]
        producer_key = self._key if self._key_indexes else None
        ends = RowEnds(producer_key, refuse, finish)
        self.fast: FastPass = self.make_fast_pass(rules, layout, (decode, self._flatten), ends)
        self._name = next(
            (
                index
                for index, place in enumerate(layout.places)
                if place.column.name == rules.resource.name_column
            ),
            None,
        )

    def fast_leniently(
        self,
        reading: ChunkReading,
        record: Record,
        value: bytes | msgspec.Raw,
        unwrapped: Unwrapped,
    ) -> Row | InvalidEvent | None:
        """As `fast`, without unknown fields; None if these aren't allowed or aren't the fault.

        Called after `fast`: so unknown fields are noticed, and only the records that have some cost
        more.
        """
        if self._lenient is None:
            return None
        try:
            # msgspec doesn't check whether the text of skipped fields is UTF-8.
            bytes(value).decode()
        except UnicodeDecodeError:
            return None
        row = self.fast(reading, record, value, unwrapped, self._lenient)
        if row is not None:
            self._note_unknown(value, self._flatten(self._lenient(value)), reading.drift)
        return row

    def thorough(
        self,
        value: bytes | msgspec.Raw | None,
        window: TimeWindow,
        drift: ContractDrift,
        timestamp: int | None = None,
    ) -> ValidEvent | InvalidEvent:
        """The event that the fast pass didn't accept, or all its faults."""
        result = explain(
            value, self._rules, window, layout=self._layout, timestamp=timestamp, drift=drift
        )
        if not isinstance(result, Cells):
            return InvalidEvent(result)
        texts = result.texts
        names = self._rules.resource.header(result.identity)
        _, by_profile, by_device = self._applications[texts["application_id"]]
        destination = by_profile if result.identity is Identity.PROFILE_ID else by_device
        return destination, [texts.get(name, "") for name in names], result.producer_key

    def has_time(self, value: bytes | msgspec.Raw) -> bool:
        """Whether the event has a time of its own, valid or not."""
        path = self._timestamp.path if self._timestamp is not None else None
        try:
            raw = value_at(value, path) if path is not None else None
        except DECODE_FAILURES:
            return False
        return raw is not None and bytes(raw) not in (b"null", b'""')

    def _key(self, values: Sequence[Any]) -> str | UnusableKey:
        texts: list[str] = []
        for index in self._key_indexes:
            value = values[index]
            if type(value) is msgspec.Raw:
                # The field of the event's time, where the route has a unit for it.
                try:
                    value = decode_key(value)
                except DECODE_FAILURES:
                    return UnusableKey.WRONG_TYPE
            texts.append("" if value is None else str(value))
        return joined(texts) or UnusableKey.MISSING

    def _note_unknown(
        self, value: bytes | msgspec.Raw, values: Sequence[Any], drift: ContractDrift
    ) -> None:
        event_name = shown_name(str(values[self._name])) if self._name is not None else ""
        fields = object_fields(value)
        if not isinstance(fields, FieldFault):
            note_unknown(list(unknown_names(fields, self._layout.root)), event_name, drift)
