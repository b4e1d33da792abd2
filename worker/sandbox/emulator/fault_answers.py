"""The answers of planned faults: before the rows are read, and after they were kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

from worker.sandbox.emulator.faults import FaultKind, PlannedFault

# Longer than any sender waits.
HANG_SECONDS = 3600.0
ANSWERED = "200"
# How the ledger names the answers of requests whose rows are kept.
_KEPT: Mapping[FaultKind, str] = {FaultKind.ACCEPT_THEN_DROP: "kept, then dropped"}
_WITH_STATUS = frozenset({FaultKind.STATUS, FaultKind.REDIRECT})
_RESETS = frozenset({FaultKind.RESET_BEFORE, FaultKind.RESET_DURING, FaultKind.RESET_AFTER})


def early_answer(fault: PlannedFault) -> str | None:
    """Return the ledger's name of an answer that comes before the rows are read; None without."""
    if fault.kind in _WITH_STATUS:
        return str(fault.answer_status)
    if fault.kind in _RESETS:
        return "reset"
    return "none" if fault.kind is FaultKind.HANG else None


def late_answer(fault: PlannedFault | None) -> str:
    """Return the ledger's name of the answer to a request whose rows are kept."""
    return _KEPT.get(fault.kind, ANSWERED) if fault is not None else ANSWERED


def delay_seconds(fault: PlannedFault | None, rows: int) -> float:
    """Return how much later a request with this number of rows is answered."""
    match fault:
        case PlannedFault(kind=FaultKind.DELAY):
            return fault.delay_seconds
        case PlannedFault(kind=FaultKind.SLOW_ROWS):
            return fault.delay_seconds * rows
        case _:
            return 0.0


async def read_before_failing(request: web.Request, fault: PlannedFault) -> bytes:
    """Read as much of the body as the fault lets in, and return the body if it was read whole."""
    match fault.kind:
        case FaultKind.RESET_BEFORE:
            return b""
        case FaultKind.RESET_DURING:
            await request.content.readany()
            return b""
        case _:
            return await request.read()


async def fail_early(request: web.Request, fault: PlannedFault) -> web.StreamResponse:
    """Answer a request whose rows are not read: with a status, with a reset, or never."""
    if fault.kind in _WITH_STATUS:
        headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
        if fault.kind is FaultKind.REDIRECT:
            headers["Location"] = fault.location
        return web.Response(status=fault.answer_status, headers=headers, text="planned\n")
    if fault.kind is FaultKind.HANG:
        await asyncio.sleep(HANG_SECONDS)
    return _reset(request)


async def accept(request: web.Request, fault: PlannedFault | None) -> web.StreamResponse:
    """Answer 200 to a request whose rows are kept, as far as the fault lets the answer through."""
    match fault:
        case PlannedFault(kind=FaultKind.ACCEPT_THEN_DROP):
            return _reset(request)
        case PlannedFault(kind=FaultKind.BROKEN_BODY):
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"accep")
            return _reset(request)
        case PlannedFault(kind=FaultKind.SLOW_DRIP):
            response = web.StreamResponse(headers={"Content-Length": "9"})
            await response.prepare(request)
            for byte in b"accepted\n":
                await response.write(bytes((byte,)))
                await asyncio.sleep(fault.delay_seconds)
            return response
        case _:
            return web.Response(text="accepted\n")


def _reset(request: web.Request) -> web.Response:
    """End the connection without another byte."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
