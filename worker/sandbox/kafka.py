"""Real Apache Kafka on loopback: one node, or a cluster of three.

Nodes are started from the main thread: see `processes.start_process`.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from worker.sandbox.kafka_node import KafkaNode, KafkaPackages, find

# Below the ports of outgoing connections: from 32768 on Linux, from 49152 by IANA.
LISTENING_PORTS = range(16_384, 32_768)


@dataclass(frozen=True, slots=True)
class Listener:
    """A further listener of a node, with its security protocol and its own properties.

    `host` is an address of this machine. `advertised_port`: the port that the node advertises, if
    it differs.
    """

    name: str
    protocol: str
    port: int
    properties: tuple[tuple[str, str], ...] = ()
    advertised_port: int | None = None
    host: str = "127.0.0.1"

    def server_properties(self) -> dict[str, str]:
        """The properties, under the names of a broker's configuration file."""
        return {
            f"listener.name.{self.name.lower()}.{name}": value for name, value in self.properties
        }


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """The options of a cluster.

    `heap` is a value of java's -Xmx. `properties` are added to every node's configuration.
    `listeners` are for a cluster of one node. `scram_users` are names and passwords for
    SCRAM-SHA-256 and SCRAM-SHA-512. `advertised_ports` are the ports that the nodes advertise, such
    as those of a proxy; the nodes themselves, and clients of `KafkaCluster.direct_servers`, don't
    use the proxy.
    """

    nodes: int = 1
    heap: str = "512m"
    properties: tuple[tuple[str, str], ...] = ()
    listeners: tuple[Listener, ...] = ()
    scram_users: tuple[tuple[str, str], ...] = ()
    advertised_ports: tuple[int, ...] = ()


class KafkaCluster:
    """A cluster on free loopback ports, with data in a temporary directory.

    A context manager that blocks while the cluster starts (2 to 4 s) and stops.
    """

    def __init__(self, options: ClusterOptions | None = None) -> None:
        self._options = options or ClusterOptions()
        self._directory: Path | None = None
        self.nodes: list[KafkaNode] = []

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all nodes, separated by commas."""
        return ",".join(node.address for node in self.nodes)

    @property
    def direct_servers(self) -> str:
        """The addresses of all nodes, without a proxy at their advertised ports."""
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
        # All at once: a controller without a quorum would wait until its time is over.
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
    """Different loopback ports without a listener.

    They are no ports of outgoing connections, so that a restarted node finds its port free.
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
    """The ports of a node: its listeners, and the advertised port."""

    client: int
    controller: int
    direct: int
    advertised: int


def _listeners(ports: _Ports, more: Sequence[Listener]) -> dict[str, str]:
    added = [f"{one.name}://{one.host}:{one.port}" for one in more]
    advertised = [f"{one.name}://{one.host}:{one.advertised_port or one.port}" for one in more]
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
        # A join takes 0.14 s instead of 3 s.
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
