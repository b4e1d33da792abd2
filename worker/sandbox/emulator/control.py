"""The emulator's state, and the paths that read and change it.

GET     /_emulator/ledger                            the counts
DELETE  /_emulator/ledger                            forget every request and row
GET     /_emulator/requests?after=0&limit=1000       requests, in order
GET     /_emulator/rows?after=0&limit=1000           accepted rows, in order
GET     /_emulator/faults                            the fault plan
PUT     /_emulator/faults     [fault, …]             replace the fault plan
DELETE  /_emulator/faults                            no faults
PUT     /_emulator/keys       {"1111": "key"}        the key of each application
PUT     /_emulator/refused    {"event_name": ["…"]}  values to refuse although they are well-formed
PUT     /_emulator/clock      {"ahead_seconds": 60}  how far the emulator's clock is ahead
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web

from worker.sandbox.emulator.contract import COLUMNS
from worker.sandbox.emulator.faults import FaultPlan, PlanError, PlannedFault, parse
from worker.sandbox.emulator.ledger import RequestLedger

PAGE_MAX = 100_000
CLOCK_AHEAD_MAX = 366 * 86_400
_APPLICATION = re.compile(r"[0-9]{1,19}")


@dataclass(slots=True)
class State:
    """Keys by application, values to refuse by column, the ledger, the fault plan and the clock.

    `clock_ahead_seconds` is how far the emulator's clock is ahead of the machine's.
    """

    keys: Mapping[int, str]
    refused: Mapping[str, frozenset[str]]
    ledger: RequestLedger
    faults: FaultPlan = field(default_factory=FaultPlan)
    clock_ahead_seconds: float = 0.0

    def unix_seconds(self) -> float:
        """Return the time by the emulator's clock."""
        return time.time() + self.clock_ahead_seconds

    def plan(self, *faults: PlannedFault) -> None:
        """Replace the fault plan; without arguments nothing fails."""
        self.faults.replace(faults, time.monotonic())

    def plan_from_json(self, text: str) -> None:
        """Replace the fault plan by a JSON list.

        Raises:
            PlanError: the text is not a plan.
        """
        try:
            plan = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PlanError(f"the plan is not JSON: {error}") from None
        self.plan(*parse(plan))


class Control:
    """Serves the control paths."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> Sequence[web.RouteDef]:
        """The control paths."""
        return [
            web.get("/_emulator/ledger", self._serve_ledger),
            web.delete("/_emulator/ledger", self._clear_ledger),
            web.get("/_emulator/requests", self._serve_requests),
            web.get("/_emulator/rows", self._serve_rows),
            web.get("/_emulator/faults", self._serve_faults),
            web.put("/_emulator/faults", self._put_faults),
            web.delete("/_emulator/faults", self._delete_faults),
            web.put("/_emulator/keys", self._put_keys),
            web.put("/_emulator/refused", self._put_refused),
            web.put("/_emulator/clock", self._put_clock),
        ]

    async def _serve_ledger(self, _: web.Request) -> web.Response:
        return web.json_response(self._state.ledger.summary())

    async def _clear_ledger(self, _: web.Request) -> web.Response:
        self._state.ledger.clear()
        return web.Response(status=204)

    async def _serve_requests(self, request: web.Request) -> web.Response:
        return web.json_response(self._state.ledger.page_of_requests(*_page(request)))

    async def _serve_rows(self, request: web.Request) -> web.Response:
        return web.json_response(self._state.ledger.page_of_rows(*_page(request)))

    async def _serve_faults(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(entry) for entry in self._state.faults.entries()])

    async def _put_faults(self, request: web.Request) -> web.Response:
        try:
            self._state.plan_from_json(await request.text())
        except PlanError as error:
            return web.Response(status=400, text=f"{error}\n")
        return web.Response(status=204)

    async def _delete_faults(self, _: web.Request) -> web.Response:
        self._state.plan()
        return web.Response(status=204)

    async def _put_keys(self, request: web.Request) -> web.Response:
        keys = await _object(request)
        if keys is None or not all(
            _APPLICATION.fullmatch(name) and isinstance(key, str) and key
            for name, key in keys.items()
        ):
            return web.Response(status=400, text='keys are an object: {"1111": "key"}\n')
        self._state.keys = {int(name): str(key) for name, key in keys.items()}
        return web.Response(status=204)

    async def _put_refused(self, request: web.Request) -> web.Response:
        refused = await _object(request)
        if refused is None or not all(_is_list_of_text(values) for values in refused.values()):
            return web.Response(
                status=400, text='refused values are an object: {"event_name": ["value"]}\n'
            )
        unknown = sorted(refused.keys() - COLUMNS)
        if unknown:
            return web.Response(status=400, text=f"no resource has the column {unknown[0]!r}\n")
        self._state.refused = {name: frozenset(values) for name, values in refused.items()}
        return web.Response(status=204)

    async def _put_clock(self, request: web.Request) -> web.Response:
        clock = await _object(request)
        ahead = None if clock is None else clock.get("ahead_seconds")
        if type(ahead) is not int or abs(ahead) > CLOCK_AHEAD_MAX:
            return web.Response(
                status=400, text='a clock is an object: {"ahead_seconds": 60}; at most a year\n'
            )
        self._state.clock_ahead_seconds = float(ahead)
        return web.Response(status=204)


async def _object(request: web.Request) -> dict[str, Any] | None:
    try:
        value = json.loads(await request.text())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_list_of_text(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _page(request: web.Request) -> tuple[int, int]:
    try:
        after, limit = int(request.query.get("after", "0")), int(request.query.get("limit", "1000"))
    except ValueError:
        raise web.HTTPBadRequest(text="after and limit are integers\n") from None
    return max(0, after), min(max(0, limit), PAGE_MAX)
