"""Safeguards, each switched off by a few lines: the simulation must notice every one.

Test code only: nothing in the worker knows of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from verification.simulation.mutants import clocks, dedup, delivery, kafka, progress
from verification.simulation.mutants.swap import Mutant

MUTANTS: dict[str, Mutant] = (
    progress.MUTANTS | delivery.MUTANTS | dedup.MUTANTS | kafka.MUTANTS | clocks.MUTANTS
)

# The history that noticed a mutant last, for mutants that the first histories don't notice. It is
# played first, which saves most of the search. If it no longer notices, all others are played.
NOTICED_AT: Mapping[str, int] = {
    "believe_offsets_whatever_the_epoch": 14,
    "check_ages_before_the_api_has_given_its_time": 10,
    "check_ages_by_a_clock_that_jumps": 10,
    "count_a_404_as_success": 12,
    "count_any_2xx_as_success": 11,
    "dead_letter_a_row_that_was_refused_once": 18,
    "follow_a_redirect": 20,
    "forget_undated_records": 14,
    "give_up_a_tail_at_the_first_error": 113,
    "give_up_what_is_in_memory_when_retention_removes_the_next_records": 6,
    "go_on_at_the_cut_whatever_is_unsettled_below": 10,
    "go_on_at_the_end_of_a_log_that_was_cut_off": 10,
    "hold_on_to_a_producer_that_gets_nowhere": 9,
    "ignore_that_partitions_are_lost": 16,
    "let_newer_profiles_pass_a_retry": 10,
    "let_rows_of_a_profile_pass_one_that_stepped_aside": 58,
    "let_suspects_take_all_requests": 95,
    "rebuild_no_window": 14,
    "replace_a_consumer_for_a_partition_that_is_away": 89,
    "send_until_the_very_end_of_a_drain": 87,
    "send_what_is_too_old_until_the_api_has_given_its_time": 85,
    "suspect_while_nothing_is_accepted": 6,
    "take_a_record_that_comes_again_for_another": 54,
    "take_replays_for_duplicates": 14,
    "wait_for_a_dead_connection_as_long_as_there_is_time": 14,
}


@contextmanager
def mutated(name: str | None) -> Iterator[None]:
    """Switch this safeguard off; None leaves all on."""
    with ExitStack() as stack:

        def swap(owner: object, attribute: str, value: object) -> None:
            before = vars(owner)[attribute]
            setattr(owner, attribute, value)
            stack.callback(setattr, owner, attribute, before)

        if name is not None:
            MUTANTS[name](swap)
        yield
