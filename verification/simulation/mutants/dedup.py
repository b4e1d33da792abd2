"""Mutants of deduplication: which records count as seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import worker.core.dedup.key_memory
import worker.core.dedup.window
import worker.core.intake.dedup_key
import worker.core.wire.commit_metadata
import worker.daemon.pipeline_parts
import worker.edges.kafka.window_rebuild
from verification.simulation.mutants.swap import Mutant, Swap
from worker.core.dedup.window import Admission, Window
from worker.core.intake.intake import Intake
from worker.core.model.event import TailRead
from worker.core.model.row import KeySource
from worker.core.reception import Receiving
from worker.core.wire.commit_metadata import CommitMetadata
from worker.edges.kafka.window_rebuild import WindowRebuild


def mark_as_delivered_before_the_answer(swap: Swap) -> None:
    admit = Window.admit

    def eager(self: Window, rows: Any, at: float) -> Admission:
        admission = admit(self, rows, at)
        for row in admission.fresh:
            self._delivered.add(row.key, at)
        return admission

    swap(Window, "admit", eager)


def deduplicate_profiles_by_content(swap: Swap) -> None:
    swap(Intake, "_without_key", lambda self, why, destination, drift: KeySource.CONTENT)


def take_a_record_that_comes_again_for_another(swap: Swap) -> None:
    numbers = count()
    swap(
        worker.core.intake.dedup_key,
        "of_record",
        lambda assignment, record, line: next(numbers).to_bytes(16, "big"),
    )


def share_no_budget(swap: Swap) -> None:
    swap(worker.core.dedup.key_memory.KeyBudget, "make_room", lambda self, rows: None)


def drop_linked_duplicates(swap: Swap) -> None:
    def take_back(self: Window, rows: Any) -> list[Any]:
        for row in rows:
            self._in_flight.remove(row.key)
            self._linked.pop(row.key, None)
        return []

    swap(Window, "take_back", take_back)


def remember_what_was_not_committed(swap: Swap) -> None:
    swap(CommitMetadata, "covers", lambda self, offset, position: True)


def _recall(swap: Swap, change: Callable[[TailRead], TailRead]) -> None:
    restore = Receiving.restore
    swap(Receiving, "restore", lambda self, event, now: restore(self, change(event), now))


def remember_what_was_refused(swap: Swap) -> None:
    _recall(swap, lambda event: replace(event, refused=frozenset()))


def remember_parked_records_by_their_key(swap: Swap) -> None:
    _recall(swap, lambda event: replace(event, parked=frozenset()))

    def park(self: Window, rows: Any, at: float) -> tuple[list[Any], list[Any]]:
        return self.deliver([row.key for row in rows], at), []

    swap(Window, "park", park)


def share_one_window_with_the_parking_topic(swap: Swap) -> None:
    route = worker.daemon.pipeline_parts._route
    shared: list[Window] = []

    def sharing(*arguments: Any) -> Any:
        made = route(*arguments)
        shared.append(made.window)
        return replace(made, window=shared[(len(shared) - 1) // 2 * 2])

    def park(self: Window, rows: Any, at: float) -> tuple[list[Any], list[Any]]:
        return self.deliver([row.key for row in rows], at), []

    swap(worker.daemon.pipeline_parts, "_route", sharing)
    swap(Window, "park", park)


def take_replays_for_duplicates(swap: Swap) -> None:
    import worker.core.intake.intake

    swap(worker.core.intake.intake, "is_replay", lambda record: False)


def keep_the_key_of_a_refused_row(swap: Swap) -> None:
    def keep(self: Window, rows: Any) -> list[Any]:
        for row in rows:
            self._delivered.add(row.key, 0.0)
            self._in_flight.remove(row.key)
        return []

    swap(Window, "take_back", keep)


def rebuild_no_window(swap: Swap) -> None:
    async def nothing(self: Any, arrived: Any, known_from: Any) -> None:
        return

    swap(WindowRebuild, "read", nothing)


def forget_undated_records(swap: Swap) -> None:
    swap(worker.core.dedup.window, "_written_milliseconds", lambda row: row.record.timestamp)


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        mark_as_delivered_before_the_answer,
        drop_linked_duplicates,
        remember_what_was_not_committed,
        remember_what_was_refused,
        remember_parked_records_by_their_key,
        share_one_window_with_the_parking_topic,
        take_replays_for_duplicates,
        keep_the_key_of_a_refused_row,
        rebuild_no_window,
        forget_undated_records,
        share_no_budget,
        deduplicate_profiles_by_content,
        take_a_record_that_comes_again_for_another,
    )
}
