"""No secret leaves the worker: everything that it shows is searched while everything fails.

Each secret is unique and holds characters that URLs encode. The API, which is the proxy as well,
repeats each request with its key and its login; the brokers refuse a password; files and variables
are faulty; the process crashes. What a part shows is captured under a name, and must hold what the
fault leaves there: an empty capture proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.certificates import make_certificates
from tests.e2e.secrets_scene import (
    ADMIN_TOKEN,
    CLIENT_SECRET,
    KEY,
    KEY_PASSWORD,
    OTHER_KEY,
    PROXY_PASSWORD,
    SECRETS,
    TRACES_PASSWORD,
    WORKER,
    WRONG_PASSWORD,
    Scene,
    echo,
)
from tests.leaks import leaks, notations
from tests.secured import GROUP, PASSWORD, PREFIXED, TOPIC, USER, Secured
from worker.daemon.assembly import assemble
from worker.edges.kafka.topics import Operation
from worker.sandbox.kafka import free_ports
from worker.sandbox.topics import create_topics, publish
from worker.settings.load import load

# The control: the same worker with a redactor that changes nothing.
WITHOUT_REDACTION = """
from worker.edges.telemetry import redaction
redaction.Redactor.redact = lambda self, text: text
from worker.__main__ import main
main()
"""
# A bug whose message holds whatever the worker knows.
CRASHING = """
from worker.edges.post_api import sink
async def post(self, batch, time_factor=1):
    raise RuntimeError({message!r})
sink.HttpSink.post = post
from worker.__main__ import main
main()
"""


@pytest.fixture
async def scene(
    secured: Secured, new_topic: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Scene]:
    topic = new_topic("secrets")
    plain = f"localhost:{secured.plain}"
    await create_topics(plain, {topic: 1, f"{topic}.dlq": 1, f"{topic}.parked": 1})
    rights = (Operation.READ, Operation.WRITE, Operation.DESCRIBE)
    await secured.allow(TOPIC, topic, *rights, pattern=PREFIXED)
    await secured.allow(GROUP, topic, Operation.READ, Operation.DESCRIBE)
    rows = [
        (b"k", json.dumps(event).encode())
        for event in (_event(1111, "fine"), _event(1111, "bad"), _event(2222, "any"), {"no": 1})
    ]
    await publish(plain, topic, rows)
    async with echo() as api:
        yield Scene(secured, topic, tmp_path, api)


def _event(application: int, name: str) -> dict[str, object]:
    return {
        "application_id": application,
        "profile_id": "u",
        "event_name": name,
        "event_timestamp": int(time.time()),
    }


def _with(captured: Mapping[str, str], marks: Mapping[str, str]) -> None:
    """Each part was captured, and holds the trace of the fault."""
    missing = {name: mark for name, mark in marks.items() if mark not in captured.get(name, "")}
    assert not missing, {name: captured.get(name, "")[-2000:] for name in missing}


async def test_a_worker_under_every_fault_of_the_api_shows_no_secret(scene: Scene) -> None:
    await scene.deliver("worker")
    _with(
        scene.captured,
        {
            "worker": '"key_not_usable"',
            "worker /": "<html",
            "worker /status": '"http_403"',
            "worker /page/status": '"last_errors"',
            "worker /debug/stacks": '"status": 403',
            "worker /metrics": 'application_held{application_id="2222",reason="http_403"}',
            "worker top": "2222",
            "worker top --json": '"http_403"',
            "dead letters": "post_api_key=***",
        },
    )
    assert {"500", "302", "400", "403"} <= scene.api.statuses
    assert any("Proxy-Authorization" in head for head in scene.api.requests)
    assert any(f"authorization: {TRACES_PASSWORD}" in head for head in scene.api.requests)
    assert not leaks(scene.captured, SECRETS)


async def test_the_same_worker_without_redaction_is_found_to_show_them(scene: Scene) -> None:
    await scene.deliver("leaking", (sys.executable, "-c", WITHOUT_REDACTION))
    found = leaks(scene.captured, SECRETS)
    for shown in ("plain", "percent-encoded", "base64, 0 bytes later"):
        assert any(one.startswith(f"dead letters: {shown} of ") for one in found), found


def _has(scene: Scene, name: str, text: str) -> bool:
    return text in scene.log(name)


async def test_a_worker_with_a_wrong_password_shows_no_secret(scene: Scene) -> None:
    (scene.directory / "wrong").write_text(WRONG_PASSWORD)
    login = {"sasl_password_file": str(scene.directory / "wrong")}
    for format_ in ("json", "console"):
        name = f"refused, {format_}"
        configuration = scene.configuration(kafka=login, log={"format": format_})
        process = await scene.start(name, configuration)
        try:
            await scene.until("a refused login", partial(_has, scene, name, "kafka_not_reached"))
            await scene.look(name, configuration["admin"]["port"])
        finally:
            await scene.end(name, process)
        marks = (name, f"{name} /status", f"{name} /page/status")
        _with(scene.captured, dict.fromkeys(marks, "kafka_not_reached"))
    assert not leaks(scene.captured, SECRETS)


async def test_a_worker_whose_tokens_are_refused_shows_no_secret(scene: Scene) -> None:
    oauth = {
        "token_endpoint": f"http://127.0.0.1:{scene.api.port}/token",
        "client_id": "worker",
        "client_secret": CLIENT_SECRET,
    }
    configuration = scene.configuration(
        kafka={"sasl_mechanism": "OAUTHBEARER", "sasl_oauth": oauth}
    )
    for name in ("sasl_username", "sasl_password_file"):
        del configuration["kafka"][name]
    process = await scene.start("tokens", configuration)
    try:
        await scene.until("a refused client", lambda: "answers HTTP 400" in scene.log("tokens"))
        await scene.look("tokens", configuration["admin"]["port"])
    finally:
        await scene.end("tokens", process)
    for command in (("check-config", "--connect"), ("show-config",)):
        shown = f"tokens: {command[0]}"
        await scene.command(shown, *command, AMW_CONFIG=str(scene.directory / "tokens.yaml"))
    _with(
        scene.captured,
        {
            "tokens /status": "answers HTTP 400",
            "tokens: check-config": "answers HTTP 400",
            "tokens: show-config": "token_endpoint",
        },
    )
    assert any("Basic" in head and "/token" in head for head in scene.api.requests)
    assert not leaks(scene.captured, SECRETS)


@pytest.mark.parametrize("format_", ["json", "console"])
async def test_a_crash_whose_message_holds_every_secret_shows_none(
    scene: Scene, format_: str
) -> None:
    known = (KEY, OTHER_KEY, PASSWORD, PROXY_PASSWORD)
    message = " ".join(text for one in known for text in notations(one).values())
    configuration = scene.configuration(log={"format": format_})
    crashing = (sys.executable, "-c", CRASHING.format(message=message))
    process = await scene.start("crash", configuration, crashing)
    await scene.until("a crash", lambda: "RuntimeError" in scene.log("crash"))
    await scene.end("crash", process)
    _with(scene.captured, {"crash": "RuntimeError: ***"})
    assert process.returncode == 70
    assert not leaks(scene.captured, SECRETS)


def _identity(directory: Path, password: str) -> Path:
    """A file with a certificate, and its key encrypted by this password."""
    made = make_certificates(directory, password)
    file = directory / "both.pem"
    file.write_text(made.certificate.read_text() + made.encrypted_key.read_text())
    return file


def _config_faults(directory: Path) -> dict[str, tuple[dict[str, Any], dict[str, str], str]]:
    """Faulty configurations with a secret in them: sections, variables, a part of the message."""
    key = _identity(directory, KEY_PASSWORD)
    (directory / "not-a-key").write_text(f"{KEY} {OTHER_KEY}\n")
    tls = {"security_protocol": "SSL", "ssl_certificate_file": str(key), "bootstrap_servers": "k:1"}
    applications = "AMW_APPMETRICA__APPLICATIONS"
    return {
        "a key password that opens nothing": (
            {"kafka": {**tls, "ssl_key_password": WRONG_PASSWORD}},
            {},
            "ssl_key_password",
        ),
        "a key password for a plain connection": (
            {"kafka": {"ssl_key_password": KEY_PASSWORD}},
            {},
            "has no effect",
        ),
        "a key with white space": (
            {"appmetrica": {"applications": {"1": {"post_api_key": f"{KEY} {OTHER_KEY}"}}}},
            {},
            "white space",
        ),
        "a file of a key with white space": (
            {
                "appmetrica": {
                    "applications": {"1": {"post_api_key_file": str(directory / "not-a-key")}}
                }
            },
            {},
            "white space",
        ),
        "a key in place of an application": (
            {"appmetrica": {"applications": {KEY: {"post_api_key": OTHER_KEY}}}},
            {},
            "application",
        ),
        "a key in place of its section": (
            {"appmetrica": {"applications": {"1": KEY}}},
            {},
            "application",
        ),
        "a login in the address": (
            {"appmetrica": {"base_url": f"http://user:{PROXY_PASSWORD.replace('/', '')}@api"}},
            {},
            "base_url",
        ),
        "a password in place of a protocol": (
            {"kafka": {"security_protocol": WRONG_PASSWORD, "sasl_password": PASSWORD}},
            {},
            "security_protocol",
        ),
        "a password as a list": (
            {"kafka": {"sasl_password": [WRONG_PASSWORD]}},
            {},
            "sasl_password",
        ),
        "broken JSON in a variable": (
            {},
            {applications: f'{{"1111": {{"post_api_key": "{KEY}"'},
            "must be JSON",
        ),
        "a misspelt variable": ({}, {"AMW_ADMIN__TOKN": ADMIN_TOKEN}, "did you mean token"),
    }


async def test_faults_of_the_configuration_show_no_secret(tmp_path: Path) -> None:
    captured: dict[str, str] = {}
    valid = {"appmetrica": {"applications": {"1111": {"post_api_key": KEY}}}}
    for name, (sections, variables, message) in _config_faults(tmp_path).items():
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump({**valid, **sections}))
        for command in ("check-config", "show-config", "run"):
            await _run(captured, f"{name}, {command}", command, "--config", str(file), **variables)
            assert message in captured[f"{name}, {command}"], captured[f"{name}, {command}"]
    for name, text in {
        "a key that ends no line": f"appmetrica: {{applications: {{1: {{post_api_key: '{KEY}",
        "a key and a colon": f"appmetrica:\n  post_api_key: {KEY}: {OTHER_KEY}\n",
        "a password as an anchor": f"kafka: {{sasl_password: &{WRONG_PASSWORD} *{PASSWORD}}}\n",
    }.items():
        file = tmp_path / "text.yaml"
        file.write_text(text)
        await _run(captured, name, "check-config", "--config", str(file))
        assert "text.yaml" in captured[name]
    assert not leaks(captured, SECRETS)


async def _run(captured: dict[str, str], name: str, *arguments: str, **variables: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *WORKER,
        *arguments,
        env={"PATH": "/usr/bin:/bin", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    captured[name] = output.decode()


async def test_tools_that_connect_show_no_secret(scene: Scene) -> None:
    (scene.directory / "wrong").write_text(WRONG_PASSWORD)
    wrong = {"sasl_password_file": str(scene.directory / "wrong")}
    secure = {"base_url": "https://api.invalid"}
    marks: dict[str, str] = {}
    file = scene.directory / "tools.yaml"
    for name, sections, mark in (
        ("right", {}, "READ allowed"),
        ("a wrong password", {"kafka": wrong}, "password"),
        ("a proxy that refuses", {"appmetrica": secure}, "407"),
    ):
        file.write_text(yaml.safe_dump(scene.configuration(**sections)))
        for command in (
            ("check-config", "--connect"),
            ("check-config", "--connect", "--json"),
            ("show-config",),
            ("show-config", "--json"),
            ("dlq", "stats"),
        ):
            shown = f"{name}: {' '.join(command)}"
            await scene.command(shown, *command, AMW_CONFIG=str(file))
            marks[shown] = mark if "--connect" in command else ""
    _with(scene.captured, marks)
    nowhere = {"https_proxy": scene.proxy_url.replace(str(scene.api.port), str(free_ports(1)[0]))}
    await scene.command(
        "a proxy that is not there", "check-config", "--connect", AMW_CONFIG=str(file), **nowhere
    )
    _with(scene.captured, {"a proxy that is not there": "ProxyConnectionError"})
    assert not leaks(scene.captured, SECRETS)


async def test_no_part_of_the_worker_shows_a_secret_in_its_repr(tmp_path: Path) -> None:
    key = _identity(tmp_path, KEY_PASSWORD)
    configuration = {
        "kafka": {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_username": USER,
            "sasl_password": PASSWORD,
            "ssl_certificate_file": str(key),
            "ssl_key_password": KEY_PASSWORD,
        },
        "appmetrica": {"applications": {"1111": {"post_api_key": KEY}}},
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(configuration))
    loaded = load(file, {"AMW_ADMIN__TOKEN": ADMIN_TOKEN}, None, {})
    parts = assemble(loaded.settings, "id", lambda _: None)
    objects = {
        "loaded": loaded,
        "settings": loaded.settings,
        "settings as a dictionary": loaded.settings.model_dump(),
        "settings as JSON": loaded.settings.model_dump_json(),
        "settings shown": loaded.shown(),
        "tls files": loaded.settings.kafka.tls_files(),
        "parts": parts,
        "connection": parts.connection,
        "keys": vars(parts.keys),
        "sink": vars(parts.sink),
        "source": vars(parts.source),
    }
    captured = {name: f"{one!r} {one!s}" for name, one in objects.items()}
    assert not leaks(captured, SECRETS)
    # The control: the secrets are known, and a search for them succeeds.
    assert len(loaded.secrets()) == 4
    assert all(leaks({"secrets": repr(loaded.secrets())}, [one]) for one in loaded.secrets())
