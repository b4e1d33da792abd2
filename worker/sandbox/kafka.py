"""Real Apache Kafka on loopback, as processes of ours: one node, or a cluster of three.

Nodes are started from the main thread: see `process.start_process`.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from worker.errors import UnavailableError
from worker.sandbox.kafka_packages import KafkaPackages, find
from worker.sandbox.process import start_process

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
POLL_SECONDS = 0.05
STARTED = "Kafka Server started"
# Below where Linux (32768) and IANA (49152) begin with ports for outgoing connections.
LISTENING_PORTS = range(16_384, 32_768)


@dataclass(frozen=True, slots=True)
class Listener:
    """One more port of a node: where it listens for a security protocol, with properties of this
    listener alone.

    `advertised_port`: where its clients are told to find the node, if not there.
    """

    name: str
    protocol: str
    port: int
    properties: tuple[tuple[str, str], ...] = ()
    advertised_port: int | None = None

    def server_properties(self) -> dict[str, str]:
        """Those of `properties`, as a broker's file names them."""
        return {
            f"listener.name.{self.name.lower()}.{name}": value for name, value in self.properties
        }


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """How a cluster is made. `heap` as java's -Xmx wants it; `properties` are added to every
    node's.

    `listeners` are of a cluster of one node; `scram_users` are names and passwords that may log in
    by SCRAM-SHA-256. `advertised_ports`: where clients are told to find each node, if not at its
    own port: those of a proxy before it, say. The nodes among themselves, and who asks at
    `KafkaCluster.direct_servers`, go round it.
    """

    nodes: int = 1
    heap: str = "512m"
    properties: tuple[tuple[str, str], ...] = ()
    listeners: tuple[Listener, ...] = ()
    scram_users: tuple[tuple[str, str], ...] = ()
    advertised_ports: tuple[int, ...] = ()


class KafkaNode:
    """One broker and controller."""

    def __init__(
        self, packages: KafkaPackages, directory: Path, heap: str, *, port: int, direct_port: int
    ) -> None:
        self._packages = packages
        self._directory = directory
        self._heap = heap
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self.direct_port = direct_port

    @property
    def address(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        """What the broker says."""
        return self._directory / "kafka.log"

    @property
    def data_directory(self) -> Path:
        """Where the partitions' logs lie."""
        return self._directory / "data"

    def format(self, cluster_id: str, scram_users: Iterable[tuple[str, str]] = ()) -> None:
        """Make the data directory ready: once, before the first start."""
        users = [
            f"SCRAM-SHA-256=[name={name},password={password}]" for name, password in scram_users
        ]
        self.java(
            *(
                "kafka.tools.StorageTool",
                "format",
                "-t",
                cluster_id,
                "-c",
                str(self._directory / "server.properties"),
            ),
            *(argument for user in users for argument in ("--add-scram", user)),
        )

    def launch(self) -> None:
        """Start the process; `await_start` waits for it."""
        with self.log_file.open("ab") as log:
            self._process = start_process(
                [
                    *(
                        str(self._packages.java),
                        f"-Xmx{self._heap}",
                        "-XX:+UseSerialGC",
                        "-XX:TieredStopAtLevel=1",
                    ),
                    *(
                        "-cp",
                        self._packages.class_path,
                        "kafka.Kafka",
                        str(self._directory / "server.properties"),
                    ),
                ],
                log,
            )

    def await_start(self) -> None:
        """Wait until the broker listens.

        Raises:
            UnavailableError: it ended, or took too long.
        """
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            if STARTED in self.log_file.read_text(errors="replace") and _is_open(self.port):
                return
            time.sleep(POLL_SECONDS)
        tail = " | ".join(self.log_file.read_text(errors="replace").splitlines()[-3:])
        self.kill()
        raise UnavailableError(
            f"Apache Kafka did not start within {START_SECONDS_MAX:g} s on {self.address}: {tail}"
        )

    def relaunch(self) -> None:
        """Start the process again after `kill` or `stop`: same port, same data. `await_start` waits
        for it.
        """
        self.log_file.write_bytes(b"")
        self.launch()

    def restart(self) -> None:
        """The same, and wait until it listens."""
        self.relaunch()
        self.await_start()

    def pause(self) -> None:
        """Freeze the process: it is there and doesn't answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask_to_stop(self) -> None:
        """Let it end in order; `stop` waits for it."""
        self.resume()
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """End it in order; at once if that takes too long."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def java(self, *arguments: str) -> str:
        """Run one of Kafka's own tools; returns what it prints."""
        command = [str(self._packages.java), "-cp", self._packages.class_path, *arguments]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=START_SECONDS_MAX, check=False
        )
        if result.returncode != 0:
            lines = (result.stderr or result.stdout).strip().splitlines()
            # A stack trace says what is wrong at its start, in the line of the exception.
            what = next((line for line in lines if "Exception" in line), "".join(lines[-1:]))
            raise UnavailableError(f"Apache Kafka's {arguments[0]} failed: {what.strip()}")
        return result.stdout


class KafkaCluster:
    """Nodes that form one cluster, on free loopback ports, with data in a directory that goes with
    them.

    A context manager; blocks while it starts (2 to 4 s) and stops.
    """

    def __init__(self, options: ClusterOptions | None = None) -> None:
        self._options = options or ClusterOptions()
        self._directory: Path | None = None
        self.nodes: list[KafkaNode] = []

    @property
    def bootstrap_servers(self) -> str:
        """All nodes' addresses, separated by commas."""
        return ",".join(node.address for node in self.nodes)

    @property
    def direct_servers(self) -> str:
        """The same nodes, and the way round whatever stands at their advertised ports."""
        return ",".join(f"127.0.0.1:{node.direct_port}" for node in self.nodes)

    def __enter__(self) -> KafkaCluster:
        packages = find()
        self._directory = Path(tempfile.mkdtemp(prefix="appmetrica-worker-kafka-"))
        try:
            self._prepare(packages, self._directory)
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                node.await_start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop every node and remove the data."""
        # A controller that waits for a quorum of those already gone would use up its whole time:
        # all of them at once.
        for node in self.nodes:
            node.ask_to_stop()
        for node in self.nodes:
            node.stop()
        self.nodes = []
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _prepare(self, packages: KafkaPackages, directory: Path) -> None:
        count = self._options.nodes
        free = free_ports(3 * count)
        advertised = self._options.advertised_ports or free[:count]
        nodes = [
            _Ports(*ports)
            for ports in zip(
                free[:count], free[count : 2 * count], free[2 * count :], advertised, strict=True
            )
        ]
        voters = ",".join(
            f"{index + 1}@127.0.0.1:{ports.controller}" for index, ports in enumerate(nodes)
        )
        for index, ports in enumerate(nodes):
            home = directory / f"node-{index + 1}"
            home.mkdir()
            listeners = _listeners(ports, self._options.listeners)
            properties = _properties(home, index + 1, voters) | listeners | _replication(count)
            properties |= dict(self._options.properties)
            text = "".join(f"{name}={value}\n" for name, value in properties.items())
            (home / "server.properties").write_text(text, encoding="utf-8")
            self.nodes.append(
                KafkaNode(
                    packages, home, self._options.heap, port=ports.client, direct_port=ports.direct
                )
            )
        cluster_id = self.nodes[0].java("kafka.tools.StorageTool", "random-uuid").strip()
        for node in self.nodes:
            node.format(cluster_id, self._options.scram_users)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on, all different.

    None of those that the system gives to outgoing connections: a node that restarts must find its
    port free.
    """
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            with suppress(OSError):
                sockets.append(socket.create_server(("127.0.0.1", secrets.choice(LISTENING_PORTS))))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


class _Ports(NamedTuple):
    """Where one node listens, and where its clients are told that it does."""

    client: int
    controller: int
    direct: int
    advertised: int


def _listeners(ports: _Ports, more: Sequence[Listener]) -> dict[str, str]:
    added = [f"{one.name}://127.0.0.1:{one.port}" for one in more]
    advertised = [f"{one.name}://127.0.0.1:{one.advertised_port or one.port}" for one in more]
    direct, controller = (
        f"DIRECT://127.0.0.1:{ports.direct}",
        f"CONTROLLER://127.0.0.1:{ports.controller}",
    )
    protocols = ["PLAINTEXT:PLAINTEXT", "DIRECT:PLAINTEXT", "CONTROLLER:PLAINTEXT"]
    properties = {
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "DIRECT",
        "listener.security.protocol.map": ",".join(
            [*protocols, *(f"{one.name}:{one.protocol}" for one in more)]
        ),
        "listeners": ",".join(
            [f"PLAINTEXT://127.0.0.1:{ports.client}", direct, controller, *added]
        ),
        "advertised.listeners": ",".join(
            [f"PLAINTEXT://127.0.0.1:{ports.advertised}", direct, *advertised]
        ),
    }
    for one in more:
        properties |= one.server_properties()
    return properties


def _properties(home: Path, number: int, voters: str) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "controller.quorum.voters": voters,
        "log.dirs": str(home / "data"),
        # A join takes 0.14 s instead of 3.
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "4",
        "auto.create.topics.enable": "false",
        "group.min.session.timeout.ms": "1000",
    }


def _replication(nodes: int) -> dict[str, str]:
    factor, in_sync = (3, 2) if nodes >= 3 else (1, 1)
    return {
        "default.replication.factor": str(factor),
        "min.insync.replicas": str(in_sync),
        "offsets.topic.replication.factor": str(factor),
        "transaction.state.log.replication.factor": str(factor),
        "transaction.state.log.min.isr": str(in_sync),
    }


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
