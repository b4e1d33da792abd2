"""The runbook: its sections and their commands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"


def commands() -> Mapping[str, tuple[str, ...]]:
    """The commands of each section, by its heading."""
    _, *parts = re.split(r"^## ", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = (part.partition("\n") for part in parts)
    return {
        heading: tuple(re.findall(r"^    (\S.*)$", text, re.MULTILINE))
        for heading, _, text in sections
    }
