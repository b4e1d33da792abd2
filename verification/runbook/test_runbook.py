"""The replay covers the runbook: each section is played, or has a reason why it is not."""

from __future__ import annotations

from verification.runbook.page import commands
from verification.runbook.scenes import NOT_PLAYED, SCENES


def test_every_section_is_played_or_has_a_reason() -> None:
    played = [heading for headings in SCENES.values() for heading in headings]
    assert sorted([*played, *NOT_PLAYED]) == sorted(commands())


def test_the_commands_of_a_section_are_found() -> None:
    assert commands()["Not ready"][0] == "curl -s $ADMIN/readyz"
    assert all(len(found) == 3 for found in commands().values())
