"""The admin port over a real socket."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import re
import socket
from dataclasses import replace

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from tests.readings import TOPIC, make_answers, make_reading
from worker.core.counters.counters import UNKNOWN
from worker.edges.telemetry.admin_listener import Address, listen_everywhere
from worker.edges.telemetry.admin_server import AdminServer
from worker.edges.telemetry.metrics.definition import PREFIX
from worker.edges.telemetry.reading import Reading
from worker.edges.telemetry.status import status_of
from worker.edges.telemetry.status_page import DOCUMENT_SECONDS
from worker.errors import UnavailableError
from worker.settings.schema import Settings


async def get(server: AdminServer, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{server.port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_metrics_and_status_are_served(server: AdminServer) -> None:
    status, text = await get(server, "/metrics")
    names = {family.name for family in text_string_to_metric_families(text)}
    assert (status, PREFIX + "records_consumed" in names) == (200, True)
    status, text = await get(server, "/status")
    assert (status, json.loads(text)["topics"][TOPIC]["consumed"]) == (200, 100)


ACCEPTS: dict[str, tuple[str | None, bool]] = {
    "nothing": (None, False),
    "anything": ("*/*", False),
    "a browser": ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", False),
    "Prometheus": (
        "application/openmetrics-text;version=1.0.0;q=0.8,"
        "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        True,
    ),
    "OpenMetrics": ("application/openmetrics-text", True),
    "rather text": ("text/plain, application/openmetrics-text;q=0.5", False),
    "anything but OpenMetrics": ("application/openmetrics-text;q=0, */*", False),
    "nonsense": ("application/openmetrics-text;version=x;q=much;;,,=", False),
}


@pytest.mark.parametrize(("accept", "is_openmetrics"), ACCEPTS.values(), ids=ACCEPTS)
async def test_the_format_of_metrics_is_the_one_that_the_client_prefers(
    server: AdminServer, accept: str | None, is_openmetrics: bool
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    async with (
        aiohttp.ClientSession(skip_auto_headers=("Accept",)) as client,
        client.get(f"http://127.0.0.1:{server.port}/metrics", headers=headers) as response,
    ):
        text = await response.text()
    parse = parse_openmetrics if is_openmetrics else text_string_to_metric_families
    counts = {family.name: len(family.samples) for family in parse(text)}
    assert counts[PREFIX + "records_consumed"] == 1
    assert text.endswith("# EOF\n") == is_openmetrics
    assert response.headers["Content-Type"].startswith(
        "application/openmetrics-text; version=1.0.0" if is_openmetrics else "text/plain"
    )


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5, br", True),
        ("gzip;q=0", False),
        ("gzip; q=0.00, identity", False),
        ("identity", False),
        ("", False),
    ],
)
async def test_metrics_are_compressed_for_clients_that_accept_it(
    server: AdminServer, accepted: str, is_compressed: bool
) -> None:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as client,
        client.get(
            f"http://127.0.0.1:{server.port}/metrics", headers={"Accept-Encoding": accepted}
        ) as response,
    ):
        body = await response.read()
    assert (response.headers.get("Content-Encoding") == "gzip") == is_compressed
    text = gzip.decompress(body) if is_compressed else body
    assert text.startswith(b"# HELP appmetrica_worker_")
    assert int(response.headers["Content-Length"]) == len(body)


# What no encoder, or no line, takes as it is; and more than any field should hold.
ODD = ["\ud800", "\udcff", "a\nb", 'a"b\\', "\x1b[31m", "\x00", "\r", "\u2028", "x" * 1_000_000]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd)[:10])
async def test_whatever_producers_call_their_fields_metrics_and_status_are_served(odd: str) -> None:
    strange = make_reading()
    strange.snapshot.counters.topics[TOPIC].contract_drift.drift(odd, odd, UNKNOWN)
    details = [{"detail": odd, "offset": 2**70, "share": float("nan"), odd: [odd]}]
    answers = make_answers(lambda: strange)
    answers = replace(
        answers, status=lambda: {**status_of(strange), "partitions_in_trouble": details}
    )
    server = AdminServer(Address("127.0.0.1", 0), answers)
    await server.start()
    try:
        status, text = await get(server, "/status")
        assert (status, len(json.loads(text)["topics"][TOPIC]["drifts"])) == (200, 2)
        status, text = await get(server, "/metrics")
        families = {one.name: one for one in text_string_to_metric_families(text)}
        assert (status, len(families[PREFIX + "contract_drifts"].samples)) == (200, 2)
    finally:
        await server.stop()


async def test_liveness_and_readiness_answer(server: AdminServer) -> None:
    assert await get(server, "/livez") == (200, "alive\n")
    assert await get(server, "/readyz") == (200, "ready\n")


async def test_a_worker_that_is_ready_may_have_something_to_say_besides() -> None:
    server = AdminServer(
        Address("127.0.0.1", 0), make_answers(remark="the local clock is doubted\n")
    )
    await server.start()
    assert await get(server, "/readyz") == (200, "ready\nthe local clock is doubted\n")
    await server.stop()


async def test_a_worker_that_is_not_ready_says_so() -> None:
    server = AdminServer(Address("127.0.0.1", 0), make_answers(unready="it is stopping"))
    await server.start()
    assert (await get(server, "/readyz"))[0] == 503
    assert (await get(server, "/livez"))[0] == 200
    await server.stop()


async def test_other_paths_and_methods_are_refused(server: AdminServer) -> None:
    assert (await get(server, "/nonsense"))[0] == 404
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"http://127.0.0.1:{server.port}/metrics") as response,
    ):
        assert response.status == 405


# --- the page -------------------------------------------------------------------------------------


async def fetch(
    server: AdminServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    async with (
        aiohttp.ClientSession() as client,
        client.request(
            method, f"http://127.0.0.1:{server.port}{path}", headers=headers
        ) as response,
    ):
        return response.status, dict(response.headers), await response.read()


async def test_the_page_and_every_file_that_it_names_are_served(server: AdminServer) -> None:
    status, headers, body = await fetch(server, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    named = re.findall(r'(?:src|href)="(page/[^"]+)"', body.decode())
    scripts = [path for path in named if path.endswith(".js")]
    for path in scripts:
        _, _, script = await fetch(server, f"/{path}")
        named += [f"page/{name}" for name in re.findall(r'from "\./([a-z]+\.js)"', script.decode())]
    assert len(named) > len(scripts) + 2
    for path in named:
        status, headers, body = await fetch(server, f"/{path}")
        assert (status, headers["Content-Type"].split(";")[0] in TYPES, body != b"") == (
            200,
            True,
            True,
        ), path


TYPES = {"text/css", "text/javascript", "image/svg+xml"}


async def test_a_file_that_the_browser_has_is_not_sent_again(server: AdminServer) -> None:
    _, headers, _ = await fetch(server, "/page/page.css")
    status, _, body = await fetch(server, "/page/page.css", **{"If-None-Match": headers["Etag"]})
    assert (status, body) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/page/", "/page/none.js", "/page/..%2fstatus.py", "/page/__init__.py", "/page/a/b.js"]
)
async def test_nothing_but_the_page_s_files_is_served(server: AdminServer, path: str) -> None:
    assert (await fetch(server, path))[0] == 404


async def test_a_hundred_pages_cost_as_much_as_one() -> None:
    built = 0

    def read() -> Reading:
        nonlocal built
        built += 1
        return make_reading()

    server = AdminServer(Address("127.0.0.1", 0), make_answers(read))
    await server.start()
    try:
        loop = asyncio.get_running_loop()
        began = loop.time()
        bodies = [(await fetch(server, "/page/status"))[2] for _ in range(20)]
        # Once, and once more for each second that this took.
        assert built <= 1 + (loop.time() - began) / DOCUMENT_SECONDS
        assert json.loads(bodies[0])["host"] == "pod-1"
    finally:
        await server.stop()


async def test_nothing_is_computed_for_a_page_that_nobody_opens() -> None:
    def read() -> Reading:
        raise AssertionError("the worker was read")

    server = AdminServer(Address("127.0.0.1", 0), make_answers(read))
    await server.start()
    try:
        for path in ("/", "/page/main.js", "/livez", "/readyz"):
            assert (await fetch(server, path))[0] == 200
    finally:
        await server.stop()


PATHS = ["/", "/page/main.js", "/page/status", "/status", "/metrics", "/livez", "/nonsense"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_forbids_frames_foreign_scripts_and_guessing_of_types(
    server: AdminServer, path: str
) -> None:
    _, headers, _ = await fetch(server, path)
    policy = headers["Content-Security-Policy"]
    for directive in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
        assert directive in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["/", "/page/status", "/page/main.js", "/status", "/metrics", "/livez", "/readyz"]
)
async def test_nothing_can_be_changed(server: AdminServer, path: str, method: str) -> None:
    assert (await fetch(server, path, method))[0] == 405
    assert (await fetch(server, path, "HEAD"))[0] == 200


@pytest.mark.parametrize("path", ["/", "/page/status", "/page/main.js", "/status"])
async def test_a_name_that_a_stranger_may_own_is_refused_with_what_to_do(
    server: AdminServer, path: str
) -> None:
    status, _, body = await fetch(server, path, Host="stranger.example:9090")
    assert (status, b"admin.allowed_hosts" in body) == (421, True)
    assert b"pod-1" not in body


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
async def test_scrapes_and_probes_come_under_any_name(server: AdminServer, path: str) -> None:
    assert (await fetch(server, path, Host="worker.example:9090"))[0] == 200


async def test_a_name_of_the_settings_is_answered() -> None:
    server = AdminServer(Address("127.0.0.1", 0), make_answers(), ("Worker.Example",))
    await server.start()
    try:
        assert (await fetch(server, "/", Host="worker.example:9090"))[0] == 200
        assert (await fetch(server, "/", Host="other.example"))[0] == 421
    finally:
        await server.stop()


async def test_stacks_are_answered_where_they_are_switched_on(server: AdminServer) -> None:
    assert (await get(server, "/debug/stacks"))[0] == 404
    answers = replace(make_answers(), stacks=lambda: {"tasks": ["a: b (c.py:1)"]})
    debugged = AdminServer(Address("127.0.0.1", 0), answers)
    await debugged.start()
    try:
        status, text = await get(debugged, "/debug/stacks")
        assert (status, json.loads(text)) == (200, {"tasks": ["a: b (c.py:1)"]})
        assert (await fetch(debugged, "/debug/stacks", Host="other.example"))[0] == 421
    finally:
        await debugged.stop()


async def test_a_taken_port_is_reported_with_what_to_do(server: AdminServer) -> None:
    second = AdminServer(Address("127.0.0.1", server.port), make_answers())
    with pytest.raises(
        UnavailableError,
        match=rf"cannot listen on 127.0.0.1:{server.port} .* set admin.host or admin.port",
    ):
        await second.start()


def local_addresses() -> list[str]:
    """The loopback addresses of this machine: of IPv6 too, if it has that."""
    with socket.socket(socket.AF_INET6) as sample:
        try:
            sample.bind(("::1", 0))
        except OSError:
            return ["127.0.0.1"]
    return ["127.0.0.1", "[::1]"]


async def test_the_default_host_serves_each_family_that_the_machine_has() -> None:
    host = Settings.model_validate(
        {"appmetrica": {"applications": {1111: {"post_api_key": "a-key-of-somebody"}}}}
    ).admin.host
    server = AdminServer(Address(host, 0), make_answers())
    await server.start()
    try:
        async with aiohttp.ClientSession() as client:
            for address in local_addresses():
                async with client.get(f"http://{address}:{server.port}/livez") as response:
                    assert response.status == 200
    finally:
        await server.stop()


def test_one_socket_for_both_families_is_asked_for_first() -> None:
    asked = []

    def create(address: tuple[str, int], **options: object) -> socket.socket:
        asked.append((address, options))
        return socket.create_server(("127.0.0.1", 0))

    with listen_everywhere(0, create):
        assert asked == [(("::", 0), {"family": socket.AF_INET6, "dualstack_ipv6": True})]


@pytest.mark.parametrize(
    "refusal",
    [
        OSError(errno.EAFNOSUPPORT, "no IPv6"),
        OSError(errno.EADDRNOTAVAIL, "no IPv6"),
        ValueError("dualstack_ipv6 not supported on this platform"),
    ],
    ids=["switched off in the kernel", "without addresses", "without a socket for both"],
)
def test_a_machine_without_ipv6_serves_ipv4(refusal: Exception) -> None:
    def create(address: tuple[str, int], *, family: int, **options: bool) -> socket.socket:
        if family == socket.AF_INET6:
            raise refusal
        return socket.create_server(address, family=family, **options)

    with listen_everywhere(0, create) as listening:
        assert listening.getsockname()[0] == "0.0.0.0"


async def test_a_taken_port_is_reported_for_every_address(server: AdminServer) -> None:
    second = AdminServer(Address("::", server.port), make_answers())
    with pytest.raises(UnavailableError, match=rf"cannot listen on \[::\]:{server.port} "):
        await second.start()
