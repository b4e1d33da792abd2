"""A worker with many secrets, an API that repeats them, and all that is captured of both."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
import yaml

from tests.secured import PASSWORD, USER, Secured
from worker.sandbox.kafka import free_ports
from worker.sandbox.processes import end_with
from worker.sandbox.topics import read_all

KEY = "Key-1111/with+all=of%41&them"
OTHER_KEY = "Key-2222/before?the#change"
NEW_KEY = "Key-2222/behind;the:change"
PROXY_PASSWORD = "Proxy/pass+word=of?ours"
WRONG_PASSWORD = "Wrong/pass+word%for=brokers"
KEY_PASSWORD = "Tls/key+pass%word=here"
ADMIN_TOKEN = "Admin/token+of~the.port=="
TRACES_PASSWORD = "Traces/pass+word%of=collector"
CLIENT_SECRET = "Client/secret+for%tokens=here"
SECRETS = (
    KEY,
    OTHER_KEY,
    NEW_KEY,
    PROXY_PASSWORD,
    PASSWORD,
    WRONG_PASSWORD,
    KEY_PASSWORD,
    ADMIN_TOKEN,
    TRACES_PASSWORD,
    CLIENT_SECRET,
)
PATHS = ("/", "/status", "/page/status", "/metrics", "/livez", "/readyz", "/debug/stacks")
LOOKS_MAX = 240
LOOK_SECONDS = 0.25
WORKER = (sys.executable, "-m", "worker")


@dataclass(slots=True)
class Echo:
    """An API behind a proxy, a collector and a token endpoint, in one.

    It refuses, redirects and fails, and repeats what it was sent.
    """

    port: int = 0
    requests: list[str] = field(default_factory=list)
    statuses: set[str] = field(default_factory=set)
    turns: int = 0

    def answer(self, head: str, body: str) -> bytes:
        self.requests.append(head)
        key = unquote(head.partition("post_api_key=")[2].partition(" ")[0].partition("&")[0])
        echoed = f"{head} {key} {b64encode(key.encode()).decode()} {json.dumps(key)}".encode()
        status, location = self._status(head, body), b""
        self.statuses.add(status)
        if status.startswith("302"):
            location = (
                b"Location: http://api.invalid/?post_api_key=" + quote(key).encode() + b"\r\n"
            )
        reason = quote(key, safe="")
        lines = f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(echoed)}\r\n".encode()
        return lines + location + b"\r\n" + echoed

    def _status(self, head: str, body: str) -> str:
        if head.startswith("CONNECT"):
            return "407"
        if head.startswith("HEAD"):
            return "200"
        if "fine" in body:
            # Before the first acceptance it fails once, and redirects once.
            self.turns += 1
            return {1: "500", 2: "302"}.get(self.turns, "200")
        return "403" if "2222," in body else "400"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                names = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = await reader.readexactly(int(names.get("content-length", "0")))
                writer.write(self.answer(head, body.decode("utf-8", "replace")))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()


@asynccontextmanager
async def echo() -> AsyncIterator[Echo]:
    api = Echo()
    listening = await asyncio.start_server(api.serve, "127.0.0.1", 0)
    async with listening:
        api.port = listening.sockets[0].getsockname()[1]
        yield api


@dataclass(slots=True)
class Scene:
    """One topic behind a login, one API, and what was captured so far."""

    secured: Secured
    topic: str
    directory: Path
    api: Echo
    captured: dict[str, str] = field(default_factory=dict)

    @property
    def proxy_url(self) -> str:
        return f"http://proxy-user:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:{self.api.port}"

    def configuration(self, **changes: Any) -> dict[str, Any]:
        """A worker's configuration; its secrets are in files and variables."""
        (self.directory / "key").write_text(OTHER_KEY)
        (self.directory / "password").write_text(PASSWORD)
        sections: dict[str, Any] = {
            "kafka": {
                "bootstrap_servers": f"localhost:{self.secured.login}",
                "group_id": self.topic,
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "PLAIN",
                "sasl_username": USER,
                "sasl_password_file": str(self.directory / "password"),
            },
            "routes": [{"topic": self.topic}],
            "dead_letter": {"topic": f"{self.topic}.dlq"},
            "appmetrica": {
                "base_url": "http://api.invalid",
                "trust_env": True,
                "applications": {"2222": {"post_api_key_file": str(self.directory / "key")}},
            },
            "batching": {"rows_max": 1},
            "delivery": {"hold_probe_seconds": 0.5, "backoff_initial_seconds": 0.1},
            "admin": {"host": "127.0.0.1", "port": free_ports(1)[0], "debug_stacks": True},
            "tracing": {
                "enabled": True,
                "endpoint": f"http://127.0.0.1:{self.api.port}",
                "headers": {"authorization": TRACES_PASSWORD},
            },
            "log": {"level": "debug"},
        }
        for name, values in changes.items():
            sections[name] = sections.get(name, {}) | values
        return sections

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "http_proxy": self.proxy_url,
            "https_proxy": self.proxy_url,
            "no_proxy": "127.0.0.1",
            "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY": KEY,
            "AMW_ADMIN__TOKEN": ADMIN_TOKEN,
            **more,
        }

    async def start(
        self, name: str, configuration: Mapping[str, Any], program: tuple[str, ...] = WORKER
    ) -> asyncio.subprocess.Process:
        """Start a worker whose log is `name`."""
        file = self.directory / f"{name}.yaml"
        file.write_text(yaml.safe_dump(dict(configuration)))
        with (self.directory / f"{name}.log").open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *program,
                "run",
                "--config",
                str(file),
                env=self.environment(),
                stdout=log,
                stderr=log,
                preexec_fn=end_with(os.getpid()),
            )

    async def command(self, name: str, *arguments: str, **environment: str) -> None:
        """Run a command to its end, and capture its output."""
        process = await asyncio.create_subprocess_exec(
            *WORKER,
            *arguments,
            env=self.environment(**environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        self.captured[name] = output.decode()

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    async def until(self, what: str, is_so: Callable[[], bool]) -> None:
        for _ in range(LOOKS_MAX):
            if is_so():
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise TimeoutError(what)

    async def until_refused(self) -> None:
        """Wait for the dead letters of the API's refusal and of the worker's, and capture them."""
        topic = f"{self.topic}.dlq"
        for _ in range(LOOKS_MAX):
            dead_letters = await read_all(f"localhost:{self.secured.plain}", topic)
            if len(dead_letters) == 2:
                shown = "\n".join(f"{one.headers} {one.value!r}" for one in dead_letters)
                self.captured["dead letters"] = shown
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise TimeoutError("two dead letters")

    async def end(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Stop a worker, and capture its log."""
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(LOOKS_MAX * LOOK_SECONDS):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        self.captured[name] = self.log(name)

    async def deliver(self, name: str, program: tuple[str, ...] = WORKER) -> None:
        """One run under every fault of the API, with a change of a key; everything is looked at."""
        configuration = self.configuration()
        process = await self.start(name, configuration, program)
        try:
            await self.until_refused()
            await self.look(name, configuration["admin"]["port"])
            process.send_signal(signal.SIGQUIT)
            await self.until("the stacks", lambda: '"diagnostics_partitions"' in self.log(name))
            await self.until("refused traces", lambda: "traces_not_accepted" in self.log(name))
            (self.directory / "key").write_text(f"{NEW_KEY} and more")
            await self.until("a faulty key", lambda: '"key_not_usable"' in self.log(name))
            (self.directory / "key").write_text(NEW_KEY)
            await self.until(
                "the changed key", lambda: quote(NEW_KEY, safe="") in "".join(self.api.requests)
            )
        finally:
            await self.end(name, process)

    async def look(self, name: str, port: int) -> None:
        """Capture every page, and `top`."""
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
        ) as session:
            for path in PATHS:
                async with session.get(url + path) as response:
                    self.captured[f"{name} {path}"] = await response.text()
            await self.command(f"{name} top", "top", "--once", "--url", url)
        await self.command(f"{name} top --json", "top", "--once", "--json", "--url", url)
