"""The command `top` over real sockets: workers that answer, and ports where none does."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from worker.edges.telemetry.admin_server import AdminServer
from worker.sandbox.kafka import free_ports


async def run_top(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker",
        "top",
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def test_once_prints_the_state_and_ends_with_0(server: AdminServer) -> None:
    code, output, errors = await run_top("--once", "--url", f"127.0.0.1:{server.port}")
    assert (code, errors) == (0, "")
    assert "Held: application 1111" in output


async def test_a_worker_without_an_answer_is_shown_and_ends_with_69(server: AdminServer) -> None:
    (port,) = free_ports(1)
    addresses = [f"127.0.0.1:{server.port}", f"127.0.0.1:{port}"]
    arguments = [word for address in addresses for word in ("--url", address)]
    code, output, _ = await run_top("--once", "--json", *arguments)
    first, second = json.loads(output)["workers"]
    assert code == 69
    assert (first["url"], first["status"]["host"], first["error"]) == (addresses[0], "pod-1", None)
    assert (second["url"], second["status"]) == (addresses[1], None)
    assert "refused" in second["error"].lower()


async def _text(_: web.Request) -> web.Response:
    return web.Response(text="<html>")


async def _json(_: web.Request) -> web.Response:
    return web.json_response({"status": "UP"})


async def _redirect(_: web.Request) -> web.Response:
    raise web.HTTPFound("/elsewhere")


async def _break(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _refuse(_: web.Request) -> web.Response:
    raise web.HTTPMisdirectedRequest(text="add the name to admin.allowed_hosts")


OTHERS = {
    "text": (_text, "no worker"),
    "other JSON": (_json, "no worker"),
    "a redirect": (_redirect, "it answers 302"),
    "a broken connection": (_break, "broken answer"),
    "a name that is not known": (_refuse, "admin.allowed_hosts"),
}


@pytest.mark.parametrize(("handler", "error"), OTHERS.values(), ids=list(OTHERS))
async def test_what_is_no_worker_is_named(handler: Handler, error: str) -> None:
    application = web.Application()
    application.router.add_get("/status", handler)
    async with TestServer(application) as other:
        code, output, _ = await run_top("--once", "--json", "--url", f"127.0.0.1:{other.port}")
    assert code == 69
    assert error in json.loads(output)["workers"][0]["error"]
