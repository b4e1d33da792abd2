"""The emulator's HTTP server, with the paths of the API; `control` has the paths beside them.

POST   /logs/v1/import/<resource>.csv?post_api_key=…      rows in the body
POST   /logs/v1/import/<resource>?post_api_key=…&…        one row in the query string
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from hashlib import sha256

from aiohttp import web

from worker.sandbox.emulator.contract import CONTRACTS
from worker.sandbox.emulator.control import Control, State
from worker.sandbox.emulator.fault_answers import (
    accept,
    delay_seconds,
    early_answer,
    fail_early,
    late_answer,
    read_before_failing,
)
from worker.sandbox.emulator.faults import PlannedFault
from worker.sandbox.emulator.ledger import ReceivedRequest, RequestLedger
from worker.sandbox.emulator.reader import (
    AcceptanceBounds,
    ReadRows,
    RefusedRequest,
    Rows,
    read_body_request,
    read_query,
    read_query_request,
)

KEY_PARAMETER = "post_api_key"


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """The address and the rules of an emulator. Port 0 picks a free port.

    `is_thorough` False only counts lines, to measure a sender. `delay_seconds` is added to every
    answer.
    """

    keys: Mapping[int, str]
    host: str = "127.0.0.1"
    port: int = 0
    body_bytes_max: int = 1_000_000_000
    event_age_seconds_max: int = 14 * 86_400
    event_ahead_seconds_max: int = 86_400
    entries_max: int = 5_000_000
    delay_seconds: float = 0.0
    is_thorough: bool = True
    refused: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Arrival:
    """A request that is being handled."""

    resource: str
    request_id: str
    applications: frozenset[int]
    body: bytes = b""


class Emulator:
    """An emulator of the Post API; an async context manager.

    `base_url` is for the worker's setting `appmetrica.base_url`.
    """

    def __init__(self, options: EmulatorOptions) -> None:
        self._options = options
        self._state = State(
            dict(options.keys), dict(options.refused), RequestLedger(options.entries_max)
        )
        self._numbers = 0
        application = web.Application(client_max_size=options.body_bytes_max)
        application.add_routes(
            [
                web.post("/logs/v1/import/{resource}.csv", partial(self._serve, read_body_request)),
                web.post("/logs/v1/import/{resource}", partial(self._serve, read_query_request)),
                *Control(self._state).routes(),
            ]
        )
        application.on_response_prepare.append(self._date)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)

    async def __aenter__(self) -> Emulator:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._options.host, self._options.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def base_url(self) -> str:
        """The URL of the server."""
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def ledger(self) -> RequestLedger:
        """The received requests and accepted rows."""
        return self._state.ledger

    def plan(self, *faults: PlannedFault) -> None:
        """Replace the fault plan; without arguments nothing fails."""
        self._state.plan(*faults)

    def plan_from_json(self, text: str) -> None:
        """Replace the fault plan by a JSON list.

        Raises:
            PlanError: the text is not a plan.
        """
        self._state.plan_from_json(text)

    def set_keys(self, keys: Mapping[int, str]) -> None:
        """Replace the keys of all applications."""
        self._state.keys = dict(keys)

    def set_clock(self, ahead_seconds: float) -> None:
        """Set how far the emulator's clock is ahead of the machine's."""
        self._state.clock_ahead_seconds = ahead_seconds

    async def _date(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(self._state.unix_seconds(), usegmt=True)

    async def _serve(self, read_rows: ReadRows, request: web.Request) -> web.StreamResponse:
        query = read_query(request.rel_url.raw_query_string)
        applications = (
            self._applications(query) if not isinstance(query, RefusedRequest) else frozenset[int]()
        )
        arrival = _Arrival(
            request.match_info["resource"], request.headers.get("X-Request-Id", ""), applications
        )
        text = await _text_of(request) if self._state.faults.reads_rows else ""
        fault = self._state.faults.take(applications, text, time.monotonic())
        if fault is not None and (answer := early_answer(fault)) is not None:
            arrival.body = await read_before_failing(request, fault)
            await self._enter(arrival, answer, "planned")
            return await fail_early(request, fault)
        verdict = await self._validate(request, arrival, query, read_rows)
        rows = len(verdict.cells) if isinstance(verdict, Rows) else 0
        if delay := self._options.delay_seconds + delay_seconds(fault, rows):
            await asyncio.sleep(delay)
        if isinstance(verdict, RefusedRequest):
            await self._enter(arrival, str(verdict.status), verdict.reason)
            return web.Response(status=verdict.status, text=verdict.reason + "\n")
        await self._enter(arrival, late_answer(fault), "", verdict)
        return await accept(request, fault)

    async def _validate(
        self,
        request: web.Request,
        arrival: _Arrival,
        query: list[tuple[str, str]] | RefusedRequest,
        read_rows: ReadRows,
    ) -> Rows | RefusedRequest:
        contract = CONTRACTS.get(arrival.resource)
        if contract is None:
            return RefusedRequest(404, f"no such resource: {arrival.resource}")
        if isinstance(query, RefusedRequest):
            return query
        if not arrival.applications:
            return RefusedRequest(403, "no post_api_key, or a wrong one")
        try:
            arrival.body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return RefusedRequest(
                413, f"the body is larger than {self._options.body_bytes_max} bytes"
            )
        if not self._options.is_thorough:
            return Rows(min(arrival.applications), (), [()] * (arrival.body.count(b"\n") - 1))
        parameters = [(name, value) for name, value in query if name != KEY_PARAMETER]
        return read_rows(contract, parameters, arrival.body, self._bounds(arrival.applications))

    def _applications(self, query: list[tuple[str, str]]) -> frozenset[int]:
        """The applications of the request's key; none without a key, or with two keys."""
        keys = [value for name, value in query if name == KEY_PARAMETER]
        return frozenset(
            application for application, key in self._state.keys.items() if keys == [key]
        )

    async def _enter(
        self, arrival: _Arrival, answer: str, reason: str, rows: Rows | None = None
    ) -> None:
        self._numbers += 1
        # A key of several applications does not name the application; the rows do.
        application_id = (
            next(iter(arrival.applications)) if len(arrival.applications) == 1 else None
        )
        kept = rows or Rows(0, (), [])
        received = ReceivedRequest(
            number=self._numbers,
            request_id=arrival.request_id,
            resource=arrival.resource,
            application_id=rows.application_id if rows is not None else application_id,
            answer=answer,
            reason=reason,
            rows_kept=len(kept.cells),
            bytes=len(arrival.body),
            sha256=sha256(arrival.body).hexdigest(),
            unix_seconds=time.time(),
        )
        await self._state.ledger.enter(
            received, kept.columns, kept.cells if self._options.is_thorough else []
        )

    def _bounds(self, applications: frozenset[int]) -> AcceptanceBounds:
        now = int(self._state.unix_seconds())
        # A second each way: the sender has read its clock earlier.
        oldest = now - self._options.event_age_seconds_max - 1
        return AcceptanceBounds(
            applications,
            oldest,
            now + self._options.event_ahead_seconds_max + 1,
            self._state.refused,
        )


async def _text_of(request: web.Request) -> str:
    """The text of the request's rows, from the body and from the query string."""
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        body = b""
    return f"{request.rel_url.query_string}\n{body.decode(errors='replace')}"
