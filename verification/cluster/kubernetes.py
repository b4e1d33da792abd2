"""A one-node Kubernetes from packages alone, in mount, network and process namespaces of its own.

Nothing of the machine is changed, and nothing outside is reached. The end of the namespaces' first
process ends every process in them: components, shims, pods.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from verification.cluster.node import PLACES
from verification.cluster.node_configuration import kubeconfig, write_configuration
from verification.cluster.programs import Programs
from worker.sandbox.processes import start_process

CGROUPS = Path("/sys/fs/cgroup")
PREFIX = "appmetrica-worker-cluster-"
UP_SECONDS_MAX = 600.0
DOWN_SECONDS_MAX = 30.0
POLL_SECONDS = 0.1


class Kubernetes:
    """The cluster; a context manager that blocks while it starts (20 s) and stops (3 s)."""

    def __init__(self, programs: Programs, images: Sequence[Path]) -> None:
        self._programs = programs
        self._images = [programs.pause_image, *images]
        self._directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._new_places: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = os.open(programs.directory, os.O_RDONLY)

    def __enter__(self) -> Kubernetes:
        try:
            self._start()
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

    def inside(self, command: Sequence[str]) -> list[str]:
        """This command in the cluster's network, with kubectl and its configuration.

        In the network only: `/proc` of the other process namespace would not fit.
        """
        variables = (
            f"KUBECONFIG={kubeconfig(self._directory)}",
            f"PATH={self._programs.bin}:{os.environ['PATH']}",
        )
        return ["nsenter", f"--target={self._first_pid()}", "--net", "env", *variables, *command]

    def _start(self) -> None:
        name = self._directory.name
        # One at a time: the folders under fixed names are removed at the end, and with such a
        # folder goes what another cluster has mounted over it.
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        write_configuration(self._directory, name)
        for place in PLACES:
            self._make_place(Path(place))
        for hierarchy in _hierarchies():
            _make_cgroup(hierarchy / name)
        arguments = [self._directory, self._programs.directory, *self._images]
        first = [sys.executable, "-m", "verification.cluster.node", *map(str, arguments)]
        namespaces = ("--mount", "--propagation=private", "--net", "--pid", "--mount-proc")
        log = self._directory / "up.log"
        with log.open("ab") as output:
            command = ["unshare", *namespaces, "--fork", "--kill-child", *first]
            self._process = start_process(command, output)
        deadline = time.monotonic() + UP_SECONDS_MAX
        while not (self._directory / "ready").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the cluster did not start: {log.read_text()}")
            time.sleep(POLL_SECONDS)

    def _make_place(self, place: Path) -> None:
        """Make a folder of the machine that something is mounted over, and remember it."""
        missing = [one for one in (place, *place.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir()
            self._new_places.append(one)

    def _first_pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the cluster is not started")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(children.read_text())

    def close(self) -> None:
        """End every process of the cluster, and remove what it has left."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        deadline = time.monotonic() + DOWN_SECONDS_MAX
        # A group can be removed when its last process has ended.
        while not _are_removed(self._directory.name) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        shutil.rmtree(self._directory, ignore_errors=True)
        for place in reversed(self._new_places):
            place.rmdir()
        self._new_places = []
        os.close(self._turn)


def _hierarchies() -> list[Path]:
    """The roots of the machine's cgroups: one of version 2, or each one of version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    folders = (one for one in CGROUPS.iterdir() if not one.is_symlink())
    return [one for one in folders if (one / "cgroup.procs").exists()]


def _make_cgroup(group: Path) -> None:
    group.mkdir()
    if group.parent.name == "cpuset":
        # Empty, and a process can't enter: a new group inherits nothing here.
        for name in ("cpuset.cpus", "cpuset.mems"):
            (group / name).write_text((group.parent / name).read_text())


def _are_removed(name: str) -> bool:
    groups = [one / name for one in _hierarchies() if (one / name).exists()]
    for group in groups:
        for folder, _, _ in os.walk(group, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                break
    return not any(group.exists() for group in groups)
