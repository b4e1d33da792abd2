"""The surroundings of the scenarios.

Kafka, the API's emulator and a name server are on the node's address; the release is installed with
Helm, and the cluster is asked and changed with kubectl.
"""

from __future__ import annotations

import asyncio
import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from verification.cluster.node_configuration import NODE_ADDRESS
from worker.sandbox.kafka import ClusterOptions, KafkaCluster, Listener
from worker.sandbox.processes import start_process

# Nothing else is in this network, so ports need no search.
KAFKA, LOGIN, API, NAMES = 9092, 9093, 8080, 53
SERVERS = f"{NODE_ADDRESS}:{KAFKA}"
API_URL = f"http://{NODE_ADDRESS}:{API}"
PARTITIONS = 6
# As docs/install.md names the brokers.
BROKERS = ("kafka-1", "kafka-2")
# The first application is that of docs/install.md, whose key changes.
KEYS = {1111: "key-of-the-first-application-7f3a", 2222: "key-of-the-second-application-91bc"}
APPLICATION = 2222
USER, PASSWORD = "appmetrica-worker", "password-of-the-worker"
SECRET = "appmetrica-keys"
REPOSITORY = "registry.example/appmetrica-worker"
ACTION_SECONDS_MAX = 180
COMMAND_SECONDS_MAX = 180.0
WAIT_SECONDS_MAX = 90.0
POLL_SECONDS = 0.25
_AUTHORIZER = (
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    # Who has no login may do everything; the user of the login what its rules say.
    ("super.users", "User:ANONYMOUS"),
)
_SCRAM = (
    ("sasl.enabled.mechanisms", "SCRAM-SHA-256"),
    (
        "scram-sha-256.sasl.jaas.config",
        "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    ),
)

T = TypeVar("T")


class RefusedError(Exception):
    """A command that failed, with what it printed."""


@contextmanager
def surroundings(directory: Path) -> Iterator[None]:
    """Kafka, the emulator and the name server, on the node's address."""
    listeners = (
        Listener("NODE", "PLAINTEXT", KAFKA, host=NODE_ADDRESS),
        Listener("LOGIN", "SASL_PLAINTEXT", LOGIN, _SCRAM, host=NODE_ADDRESS),
    )
    options = ClusterOptions(
        listeners=listeners, scram_users=((USER, PASSWORD),), properties=_AUTHORIZER
    )
    command = [
        str(Path(sys.executable).with_name("appmetrica-worker")),
        "sandbox",
        f"--host={NODE_ADDRESS}",
        f"--port={API}",
        *(f"--application={number}={key}" for number, key in KEYS.items()),
    ]
    with KafkaCluster(options), _names(), (directory / "emulator.log").open("ab") as log:
        emulator = start_process(command, log)
        try:
            yield
        finally:
            emulator.kill()
            emulator.wait()


class _NameServer(socketserver.BaseRequestHandler):
    """Answers questions for the brokers' names with the node's address; no other name exists."""

    def handle(self) -> None:
        query, socket = self.request
        labels, place = [], 12
        while query[place]:
            labels.append(query[place + 1 : place + 1 + query[place]].decode().lower())
            place += 1 + query[place]
        question = query[12 : place + 5]
        is_known = len(labels) == 1 and labels[0] in BROKERS
        # The address is of type 1; for any other type there is no answer.
        answers = is_known and query[place + 1 : place + 3] == b"\x00\x01"
        flags = b"\x81\x80" if is_known else b"\x81\x83"
        header = query[:2] + flags + b"\x00\x01" + bytes((0, answers)) + bytes(4)
        address = bytes(map(int, NODE_ADDRESS.split(".")))
        # Name by reference, type, class, 60 s, four bytes.
        record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + address
        socket.sendto(header + question + (record if answers else b""), self.client_address)


@contextmanager
def _names() -> Iterator[None]:
    with socketserver.UDPServer((NODE_ADDRESS, NAMES), _NameServer) as server:
        thread = threading.Thread(target=server.serve_forever, name="name server")
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


async def run(*command: str, input_text: str = "") -> str:
    """Run a command, and return what it prints.

    Raises:
        RefusedError: the command failed; with its output.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS_MAX):
            output, errors = await process.communicate(input_text.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RefusedError(f"{' '.join(command)}: {output.decode()}{errors.decode()}")
    return output.decode()


async def kubectl(*arguments: str, input_text: str = "") -> str:
    """Run kubectl."""
    return await run("kubectl", *arguments, input_text=input_text)


async def apply(*objects: Mapping[str, Any], options: Sequence[str] = ()) -> str:
    """Create or change objects; of version v1, if they don't name another."""
    items = [{"apiVersion": "v1", **one} for one in objects]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    return await kubectl("apply", "--server-side", *options, "--filename=-", input_text=text)


async def control(path: str, value: object) -> None:
    """Change the emulator: its keys, or its faults."""
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{API_URL}/_emulator/{path}", json=value) as response,
    ):
        response.raise_for_status()


async def until(what: str, is_reached: Callable[[], Any], seconds: float = WAIT_SECONDS_MAX) -> Any:
    """Ask again and again until the answer is true, and return it.

    Raises:
        TimeoutError: with the last answer.
    """
    found: Any = None
    for _ in range(round(seconds / POLL_SECONDS)):
        found = await is_reached()
        if found:
            return found
        await asyncio.sleep(POLL_SECONDS)
    raise TimeoutError(f"{what} not after {seconds:g} s: {found}")


@asynccontextmanager
async def slow_api(seconds: float) -> AsyncIterator[None]:
    """Every answer of the API comes this much later, while the block runs."""
    await control("faults", [{"kind": "delay", "delay_seconds": seconds}])
    try:
        yield
    finally:
        await control("faults", [])
