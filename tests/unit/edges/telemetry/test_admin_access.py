"""The names under which the page is answered: none that a stranger can own."""

from __future__ import annotations

import hmac
import socket

import pytest

from worker.edges.telemetry.admin_access import HostCheck, carries_token

ANSWERED = [
    None,
    "127.0.0.1",
    "127.0.0.1:9090",
    "10.1.2.3:9090",
    "[::1]:9090",
    "[fe80::1%25eth0]",
    "localhost",
    "LOCALHOST:9090",
    "localhost.:9090",
    "worker",
    "worker-3:9090",
    "worker.localhost",
    "printer.local",
    "worker.namespace.svc",
    "worker.namespace.svc.cluster.local:9090",
    "node-1.compute.internal",
    socket.gethostname(),
]
REFUSED = [
    "",
    ":9090",
    ".",
    "stranger.example",
    "stranger.example:9090",
    "127.0.0.1.stranger.example",
    "localhost.stranger.example",
    "svc.stranger.example",
    "stranger-local.example",
    "[stranger.example]",
    "127.0.0.1@stranger.example",
    "999.1.1.1",
    "worker.example",
]


@pytest.mark.parametrize("host", ANSWERED)
def test_addresses_and_names_of_the_own_network_are_answered(host: str | None) -> None:
    assert HostCheck().is_allowed(host)


@pytest.mark.parametrize("host", REFUSED)
def test_names_that_can_be_registered_are_refused(host: str) -> None:
    assert not HostCheck().is_allowed(host)


def test_names_of_the_settings_are_answered_whatever_their_case_and_port() -> None:
    check = HostCheck(("Worker.Example.",))
    assert check.is_allowed("worker.example:9090")
    assert check.is_allowed("WORKER.EXAMPLE")
    assert not check.is_allowed("sub.worker.example")


def test_a_star_answers_every_name() -> None:
    assert HostCheck(("*",)).is_allowed("stranger.example")


def test_a_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, token: bytes) -> bool:
        compared.append((given, token))
        return given == token

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert carries_token("Bearer token", "token")
    assert not carries_token("Bearer tokeN", "token")
    assert not carries_token("Basic dTp0b2tlTg==", "token")
    assert compared == [(b"token", b"token"), (b"tokeN", b"token"), (b"tokeN", b"token")]
