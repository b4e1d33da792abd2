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
from hashlib import sha256

from aiohttp import web

from worker.sandbox.emulator.contract import CONTRACTS
from worker.sandbox.emulator.control import Control, State
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.emulator.ledger import ReceivedRequest, RequestLedger
from worker.sandbox.emulator.reader import (
    AcceptanceBounds,
    RefusedRequest,
    Rows,
    read_body,
    read_parameters,
    read_query,
)

KEY_PARAMETER = "post_api_key"
# Longer than any sender waits.
HANG_SECONDS = 3600.0
KEPT: Mapping[FaultKind, str] = {
    FaultKind.ACCEPT_THEN_DROP: "kept, then dropped",
    FaultKind.BROKEN_BODY: "200",
    FaultKind.SLOW_DRIP: "200",
}


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
                web.post("/logs/v1/import/{resource}.csv", self._serve_body),
                web.post("/logs/v1/import/{resource}", self._serve_parameters),
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
        return f"http://{host}:{port}"

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

    async def _serve_body(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, is_body=True)

    async def _serve_parameters(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, is_body=False)

    async def _serve(self, request: web.Request, *, is_body: bool) -> web.StreamResponse:
        query = read_query(request.rel_url.raw_query_string)
        applications = (
            self._applications(query) if not isinstance(query, RefusedRequest) else frozenset[int]()
        )
        arrival = _Arrival(
            request.match_info["resource"], request.headers.get("X-Request-Id", ""), applications
        )
        rows = await _text_of(request) if self._state.faults.reads_rows else ""
        fault = self._state.faults.take(applications, rows, time.monotonic())
        delay = self._options.delay_seconds
        if fault is not None:
            early = await self._fail_early(request, arrival, fault)
            if early is not None:
                return early
            delay += fault.delay_seconds if fault.kind is FaultKind.DELAY else 0.0
        verdict = await self._validate(request, arrival, query, is_body=is_body)
        if fault is not None and fault.kind is FaultKind.SLOW_ROWS and isinstance(verdict, Rows):
            delay += fault.delay_seconds * len(verdict.cells)
        if delay:
            await asyncio.sleep(delay)
        if isinstance(verdict, RefusedRequest):
            await self._enter(arrival, str(verdict.status), verdict.reason)
            return web.Response(status=verdict.status, text=verdict.reason + "\n")
        answer = KEPT.get(fault.kind, "200") if fault is not None else "200"
        await self._enter(arrival, answer, "", verdict)
        return await self._accept(request, fault)

    async def _fail_early(
        self, request: web.Request, arrival: _Arrival, fault: PlannedFault
    ) -> web.StreamResponse | None:
        """Answer a fault that comes before the rows are read; None for other faults."""
        match fault.kind:
            case FaultKind.STATUS | FaultKind.REDIRECT:
                arrival.body = await request.read()
                headers = (
                    {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
                )
                if fault.kind is FaultKind.REDIRECT:
                    headers["Location"] = fault.location
                await self._enter(arrival, str(fault.answer_status), "planned")
                return web.Response(status=fault.answer_status, headers=headers, text="planned\n")
            case FaultKind.RESET_BEFORE | FaultKind.RESET_DURING | FaultKind.RESET_AFTER:
                if fault.kind is FaultKind.RESET_DURING:
                    await request.content.readany()
                elif fault.kind is FaultKind.RESET_AFTER:
                    arrival.body = await request.read()
                await self._enter(arrival, "reset", "planned")
                return _reset(request)
            case FaultKind.HANG:
                arrival.body = await request.read()
                await self._enter(arrival, "none", "planned")
                await asyncio.sleep(HANG_SECONDS)
                return _reset(request)
            case _:
                return None

    async def _validate(
        self,
        request: web.Request,
        arrival: _Arrival,
        query: list[tuple[str, str]] | RefusedRequest,
        *,
        is_body: bool,
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
        if not is_body:
            if arrival.body:
                return RefusedRequest(400, "a request in the query string has no body")
            return read_parameters(contract, parameters, self._bounds(arrival.applications))
        if parameters:
            return RefusedRequest(
                400, f"parameter {parameters[0][0]!r} beside a body: the rows are in the body"
            )
        return read_body(contract, arrival.body, self._bounds(arrival.applications))

    def _applications(self, query: list[tuple[str, str]]) -> frozenset[int]:
        """The applications of the request's key; none without a key, or with two keys."""
        keys = [value for name, value in query if name == KEY_PARAMETER]
        return frozenset(
            application for application, key in self._state.keys.items() if keys == [key]
        )

    async def _accept(self, request: web.Request, fault: PlannedFault | None) -> web.StreamResponse:
        kind = fault.kind if fault is not None else None
        if kind is FaultKind.ACCEPT_THEN_DROP:
            return _reset(request)
        if kind is FaultKind.BROKEN_BODY:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"accep")
            return _reset(request)
        if kind is FaultKind.SLOW_DRIP and fault is not None:
            response = web.StreamResponse(headers={"Content-Length": "9"})
            await response.prepare(request)
            for byte in b"accepted\n":
                await response.write(bytes((byte,)))
                await asyncio.sleep(fault.delay_seconds)
            return response
        return web.Response(text="accepted\n")

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


def _reset(request: web.Request) -> web.Response:
    """End the connection without another byte."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
