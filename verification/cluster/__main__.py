"""Runs the scenarios of the chart and the image on a real one-node Kubernetes.

`python -m verification.cluster [ARGUMENT OF PYTEST…]`. `--run COMMAND…` runs another command in the
cluster's network instead, such as a shell: kubectl is in its PATH, and there is no way out.

Needs root, Go, and packages of Debian, which it installs by apt. The first run builds Kubernetes
(20 minutes of CPU time) and keeps it under XDG_CACHE_HOME.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tests.install.image import DIRECTORY, IMAGE, Buildah, install_tools
from verification.cluster.kubernetes import Kubernetes
from verification.cluster.node_configuration import CNI_PLUGINS
from verification.cluster.page import kafka_jars
from verification.cluster.programs import built
from worker.errors import UnavailableError

_LOG = logging.getLogger("cluster")

PROJECT = Path(__file__).parents[2]
TOOLS = {
    "containerd": "containerd",
    "runc": "runc",
    str(CNI_PLUGINS / "ptp"): "containernetworking-plugins",
    "nft": "nftables",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "openssl": "openssl",
    "curl": "curl",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}
# Where docs/install.md pushes it: the cluster has it already, and pulls nothing.
PUSHED_AS = "registry.example/appmetrica-worker:0.1.0"
SCENARIO_SECONDS_MAX = 1200.0
INTERRUPTED = 130


def run(command: Sequence[str]) -> int:
    """Build what is missing, start the cluster, run the command in it, and bring it down."""
    install_tools(TOOLS)
    programs = built()
    # Kafka is downloaded here: the cluster's network has no way out.
    kafka_jars()
    with tempfile.TemporaryDirectory(prefix="appmetrica-worker-image-") as folder:
        image = Path(folder) / "worker.tar"
        _build_image(image)
        began = time.monotonic()
        with Kubernetes(programs, [image]) as cluster:
            _LOG.info("the cluster is up after %.0f s", time.monotonic() - began)
            try:
                done = subprocess.run(
                    cluster.inside(command), cwd=PROJECT, timeout=SCENARIO_SECONDS_MAX, check=False
                )
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"ended after {SCENARIO_SECONDS_MAX:g} s") from None
        _LOG.info("the cluster is down after %.0f s", time.monotonic() - began)
    return done.returncode


def _build_image(archive: Path) -> None:
    began = time.monotonic()
    buildah = Buildah(DIRECTORY)
    buildah.make_base()
    buildah.build()
    buildah("push", "--quiet", IMAGE, f"docker-archive:{archive}:{PUSHED_AS}")
    _LOG.info("the image is built after %.0f s", time.monotonic() - began)


def _stop(*_: object) -> NoReturn:
    sys.exit(INTERRUPTED)


def main() -> int:
    """Run what the arguments ask for."""
    # Otherwise a time-out of the caller would leave the cluster's folder behind.
    signal.signal(signal.SIGTERM, _stop)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    arguments = sys.argv[1:]
    tests = (sys.executable, "-m", "pytest", "-m", "cluster", str(Path(__file__).parent))
    command = arguments[1:] if arguments[:1] == ["--run"] else [*tests, *arguments]
    try:
        return run(command)
    except (RuntimeError, UnavailableError, OSError) as error:
        _LOG.error("%s", error)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
