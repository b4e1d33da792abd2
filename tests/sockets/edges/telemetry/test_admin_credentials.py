"""The admin port with a token, with TLS, and with metrics on a port of their own."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.certificates import make_certificates
from tests.readings import make_answers
from worker.edges.kafka.client import Secret
from worker.edges.telemetry.admin_credentials import AdminCredentials
from worker.edges.telemetry.admin_listener import CONNECTIONS_MAX, Address
from worker.edges.telemetry.admin_server import AdminServer
from worker.errors import UnavailableError
from worker.sandbox.kafka import free_ports
from worker.tls_files import TlsFiles
from worker.tools.top import Access, ask_all

TOKEN = "token-of.the~admin+port/0=="
OTHER_TOKEN = "another-token-of-the-port"
GUARDED = ["/", "/page/main.js", "/page/status", "/status", "/metrics", "/nonsense"]
HERE = Address("127.0.0.1", 0)


@asynccontextmanager
async def serving(
    credentials: AdminCredentials, metrics: Address | None = None
) -> AsyncIterator[AdminServer]:
    server = AdminServer(HERE, make_answers(), (), credentials, metrics)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def fetch(
    url: str,
    context: ssl.SSLContext | None = None,
    *,
    method: str = "GET",
    authorization: str = "",
    host: str = "",
) -> tuple[int, str, str]:
    given = {"Authorization": authorization, "Host": host}
    headers = {name: value for name, value in given.items() if value}
    # The name in the certificate.
    name = None if context is None else "own"
    async with (
        aiohttp.ClientSession() as client,
        client.request(
            method, url, headers=headers, ssl=context or True, server_hostname=name
        ) as response,
    ):
        return (
            response.status,
            response.headers.get("WWW-Authenticate", ""),
            await response.text(),
        )


@pytest.mark.parametrize("path", GUARDED)
async def test_what_comes_without_the_token_is_refused(path: str) -> None:
    wrong = {
        "none": "",
        "another": f"Bearer {OTHER_TOKEN}",
        "the beginning": f"Bearer {TOKEN[:-1]}",
        "more": f"Bearer {TOKEN}x",
        "no scheme": TOKEN,
        "another scheme": f"Digest {TOKEN}",
        "the user, not the password": f"Basic {b64encode(f'{TOKEN}:'.encode()).decode()}",
        "no base64": "Basic ***",
        "not ASCII": "Bearer ключ",
    }
    async with serving(AdminCredentials(Secret(TOKEN))) as server:
        url = f"http://127.0.0.1:{server.port}{path}"
        for name, header in wrong.items():
            status, challenge, text = await fetch(url, authorization=header)
            assert (status, challenge.startswith("Bearer ")) == (401, True), name
            assert "pod-1" not in text
            assert "admin.token" in text
        status, _, _ = await fetch(url, method="POST")
        assert status == 401


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {TOKEN}",
        f"bearer  {TOKEN} ",
        f"Basic {b64encode(f'anybody:{TOKEN}'.encode()).decode()}",
    ],
    ids=["bearer", "other case and spaces", "basic"],
)
async def test_who_has_the_token_reads_everything(header: str) -> None:
    async with serving(AdminCredentials(Secret(TOKEN))) as server:
        for path in ("/", "/page/main.js", "/page/status", "/status", "/metrics"):
            url = f"http://127.0.0.1:{server.port}{path}"
            assert (await fetch(url, authorization=header))[0] == 200


async def test_probes_need_no_token_and_hosts_are_checked_before_it() -> None:
    async with serving(AdminCredentials(Secret(TOKEN))) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert (await fetch(f"{url}/livez"))[0] == 200
        assert (await fetch(f"{url}/readyz"))[0] == 200
        assert (await fetch(f"{url}/status", host="stranger.example"))[0] == 421


async def test_a_changed_token_is_used_and_a_faulty_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, learned = tmp_path / "token", list[str]()
    file.write_text(f"{TOKEN}\n")
    credentials = AdminCredentials(Secret(TOKEN), file, learn=learned.append)
    caplog.set_level(logging.INFO, "worker.admin")
    await credentials.check()
    for text, then in (
        ("too short", TOKEN),
        ("", TOKEN),
        (f"{OTHER_TOKEN}\n", OTHER_TOKEN),
    ):
        file.write_text(text)
        await credentials.check()
        await credentials.check()
        assert credentials.token == then
    file.unlink()
    await credentials.check()
    assert credentials.token == OTHER_TOKEN
    events = [record.message for record in caplog.records]
    assert events == ["admin_token_not_usable", "admin_token_not_usable", "admin_token_changed",
                      "admin_token_not_usable"]  # fmt: skip
    assert OTHER_TOKEN in learned
    assert OTHER_TOKEN not in caplog.text


def files(directory: Path) -> TlsFiles:
    made = make_certificates(directory)
    return TlsFiles(None, made.certificate, made.key)


def trusting(directory: Path, name: str = "own") -> ssl.SSLContext:
    return ssl.create_default_context(cafile=directory / f"{name}.pem")


async def test_everything_is_served_by_tls_and_nothing_without(tmp_path: Path) -> None:
    credentials = AdminCredentials(Secret(TOKEN), tls=files(tmp_path))
    async with serving(credentials) as server:
        url, context = f"https://127.0.0.1:{server.port}", trusting(tmp_path)
        assert (await fetch(f"{url}/livez", context))[0] == 200
        assert (await fetch(f"{url}/status", context))[0] == 401
        assert (await fetch(f"{url}/status", context, authorization=f"Bearer {TOKEN}"))[0] == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await fetch(f"{url}/livez", trusting(tmp_path, "other"))
        with pytest.raises(aiohttp.ClientError):
            await fetch(f"http://127.0.0.1:{server.port}/livez")


def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    context = AdminCredentials(tls=files(tmp_path)).context()
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_file_that_is_unusable_again_is_logged_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, good, bad = (tmp_path / name for name in ("token", "good", "bad"))
    good.write_text(TOKEN)
    bad.write_text("too short")
    credentials = AdminCredentials(Secret(TOKEN), file)
    # A mounted secret is such a link; the file behind it stays the same.
    for target in (good, bad, bad, good, bad):
        file.unlink(missing_ok=True)
        file.symlink_to(target)
        await credentials.check()
    assert [record.message for record in caplog.records] == ["admin_token_not_usable"] * 2


async def test_a_changed_certificate_is_used_and_a_key_that_does_not_belong_to_it_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The names in the certificate and its key stay; a rotation replaces what is behind them."""
    tls = files(tmp_path)
    assert tls.certificate_file is not None
    assert tls.key_file is not None
    credentials = AdminCredentials(tls=tls)
    caplog.set_level(logging.INFO, "worker.admin")
    before = trusting(tmp_path)
    (tmp_path / "next").mkdir()
    new = files(tmp_path / "next")
    assert new.certificate_file is not None
    assert new.key_file is not None
    async with serving(credentials) as server:
        url = f"https://127.0.0.1:{server.port}/livez"
        await credentials.check()
        # Half of a rotation.
        tls.certificate_file.write_bytes(new.certificate_file.read_bytes())
        await credentials.check()
        assert (await fetch(url, before))[0] == 200
        tls.key_file.write_bytes(new.key_file.read_bytes())
        await credentials.check()
        assert (await fetch(url, trusting(tmp_path / "next")))[0] == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await fetch(url, before)
    events = [record.message for record in caplog.records]
    assert events == ["admin_certificate_not_usable", "admin_certificate_changed"]


async def test_a_thousand_handshakes_that_never_end_leave_liveness_its_place(
    tmp_path: Path,
) -> None:
    async with serving(AdminCredentials(tls=files(tmp_path))) as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(1000)]
        try:
            url, context = f"https://127.0.0.1:{server.port}/livez", trusting(tmp_path)
            assert (await fetch(url, context))[0] == 200
            await asyncio.sleep(0)
            open_ = sum(not reader.at_eof() for reader, _ in idle)
            assert open_ <= CONNECTIONS_MAX
        finally:
            for _, writer in idle:
                writer.transport.abort()


async def test_an_unusable_certificate_is_a_fault_of_the_start(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    tls = TlsFiles(None, made.certificate, made.other_key)
    with pytest.raises(UnavailableError, match=r"admin\.ssl_key_file: .*is not the key"):
        await AdminServer(HERE, make_answers(), (), AdminCredentials(tls=tls)).start()


async def test_metrics_on_a_port_of_their_own_are_there_alone() -> None:
    token = AdminCredentials(Secret(TOKEN))
    async with serving(token, HERE) as server:
        admin, metrics = (f"http://127.0.0.1:{port}" for port in (server.port, server.metrics_port))
        for url, path, status in (
            (metrics, "/metrics", 200),
            (metrics, "/livez", 200),
            (metrics, "/readyz", 200),
            (metrics, "/status", 404),
            (metrics, "/", 404),
            (metrics, "/page/status", 404),
            (admin, "/metrics", 404),
            (admin, "/status", 200),
            (admin, "/livez", 200),
        ):
            assert (await fetch(url + path, authorization=f"Bearer {TOKEN}"))[0] == status, (
                url,
                path,
            )
        assert (await fetch(f"{metrics}/metrics"))[0] == 401
        assert (await fetch(f"{metrics}/livez"))[0] == 200


async def test_a_taken_port_of_metrics_is_reported_and_the_other_is_closed() -> None:
    async with serving(AdminCredentials()) as other:
        taken = Address("127.0.0.1", other.port, "admin.metrics_host or admin.metrics_port")
        (port,) = free_ports(1)
        server = AdminServer(Address("127.0.0.1", port), make_answers(), metrics=taken)
        with pytest.raises(
            UnavailableError, match=r"set admin\.metrics_host or admin\.metrics_port"
        ):
            await server.start()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_top_shows_the_token_and_verifies_the_certificate(tmp_path: Path) -> None:
    async with serving(AdminCredentials(Secret(TOKEN), tls=files(tmp_path))) as server:
        url = URL(f"https://127.0.0.1:{server.port}")
        own = tmp_path / "own.pem"

        async def error(access: Access) -> str:
            async with access.session() as session:
                (answer,) = await ask_all(session, [url], access.server_name)
            return answer.error

        assert await error(Access(TOKEN, own, "own")) == ""
        assert "not trusted" in await error(Access(TOKEN, own, "another"))
        assert "not trusted" in await error(Access(TOKEN, tmp_path / "other.pem", "own"))
        assert (await error(Access(None, own, "own"))).startswith("it answers 401: ")


@pytest.mark.parametrize("by_variable", [False, True])
async def test_top_takes_the_token_and_the_authority_from_flags_and_variables(
    tmp_path: Path, by_variable: bool
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    flags = {
        "AMW_ADMIN__TOKEN_FILE": ("--token-file", str(tmp_path / "token")),
        "AMW_TOP_CA_FILE": ("--ca-file", str(tmp_path / "own.pem")),
        "AMW_TOP_SERVER_NAME": ("--server-name", "own"),
    }
    async with serving(AdminCredentials(Secret(TOKEN), tls=files(tmp_path))) as server:
        arguments = ["top", "--once", "--json", "--url", f"https://127.0.0.1:{server.port}"]
        variables = {name: value for name, (_, value) in flags.items()} if by_variable else {}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "worker",
            *arguments,
            *(() if by_variable else itertools.chain.from_iterable(flags.values())),
            stdout=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", **variables},
        )
        output, _ = await process.communicate()
    (worker,) = json.loads(output)["workers"]
    assert (process.returncode, worker["error"]) == (0, None)
