"""What the emulator knows, and what it does: its API's paths go by it, its control changes it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.sandbox.emulator.faults import FaultPlan, PlanError, PlannedFault, parse
from worker.sandbox.emulator.ledger import Ledger


@dataclass(slots=True)
class State:
    """`keys` are each application's; `refused` are values, by column, that are refused although
    well-formed.
    """

    keys: Mapping[int, str]
    refused: Mapping[str, frozenset[str]]
    ledger: Ledger
    faults: FaultPlan = field(default_factory=FaultPlan)

    def plan(self, *faults: PlannedFault) -> None:
        """Let these go wrong from now on, instead of what was planned; none: nothing."""
        self.faults.replace(faults, time.monotonic())

    def plan_from_json(self, text: str) -> None:
        """The same, from a JSON list.

        Raises:
            PlanError: it isn't a plan.
        """
        try:
            self.plan(*parse(json.loads(text)))
        except json.JSONDecodeError as error:
            raise PlanError(f"the plan is not JSON: {error}") from None
