"""The paths to look into the emulator's ledger, and to say what it does from now on.

GET    /_emulator/ledger                                   the counts                 DELETE  forget
everything
GET    /_emulator/requests?after=0&limit=1000              requests, in order
GET    /_emulator/rows?after=0&limit=1000                  accepted rows, in order
GET    /_emulator/faults        PUT [fault, …]             the plan                   DELETE  no
faults
PUT    /_emulator/keys          {"1111": "key"}            which key each application has
PUT    /_emulator/refused       {"event_name": ["…"]}      values refused although well-formed
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aiohttp import web

from worker.sandbox.emulator.contract import COLUMNS
from worker.sandbox.emulator.faults import PlanError
from worker.sandbox.emulator.state import State

PAGE_MAX = 100_000


class Control:
    """Its `routes` are served beside the API's."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> Sequence[web.RouteDef]:
        """What is served."""
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
            name.isdigit() and isinstance(key, str) and key for name, key in keys.items()
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
