"""Builds the image without a Docker daemon, and runs it as Kubernetes would.

By buildah, on a base made by debootstrap, and by runc.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
# Debian's package of each program.
TOOLS = {"buildah": "buildah", "debootstrap": "debootstrap", "runc": "runc"}
# The keys of Debian's packages, where the machine is of another family.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITE = "trixie"
BASE = "localhost/python-base:with-headers"
IMAGE = "localhost/appmetrica-worker:test"
# The base is made once: a second run takes a minute.
DIRECTORY = PROJECT / ".cache" / "image"
BUILD_SECONDS_MAX = 900
# How this machine reaches its package index: the build needs it, and the image must not have it.
MACHINE_FILES = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
CONFIG_PATH = "/etc/appmetrica-worker"


def install_tools(tools: Mapping[str, str]) -> None:
    """Install programs, of which the packages are given.

    Raises:
        RuntimeError: with what is missing, and how to get it.
    """
    missing = [package for name, package in tools.items() if shutil.which(name) is None]
    if not KEYRING.exists():
        missing.append(KEYRING.stem)
    if not missing and os.geteuid() == 0:
        return
    command = f"apt-get install --no-install-recommends {' '.join(missing or tools.values())}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(f"this needs root, and Debian's packages: {command}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-q"], ["install", "-y", "--no-install-recommends", *missing]):
        _run(["apt-get", *arguments], env=environment)


def _run(command: Sequence[str], **options: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS_MAX,
        check=False,
        **options,
    )
    if done.returncode != 0:
        tail = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{tail}")
    return done.stdout


class Buildah:
    """Buildah with a storage of its own, in one directory; nothing else is touched."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._options = [
            "--storage-driver",
            "vfs",
            "--root",
            str(directory / "storage"),
            "--runroot",
            str(directory / "run"),
        ]

    def __call__(self, *arguments: str) -> str:
        """Run a command and return what it prints."""
        return _run(["buildah", *self._options, *arguments]).strip()

    def make_base(self) -> None:
        """A minimal Debian with its Python and the header files, in place of python:3.13-slim."""
        if BASE in self("images", "--format", "{{.Name}}:{{.Tag}}").split():
            return
        root = self._directory / "base"
        shutil.rmtree(root, ignore_errors=True)
        packages = "--include=python3,python3-venv,libpython3-dev,ca-certificates"
        try:
            _run(["debootstrap", "--variant=minbase", packages, SUITE, str(root), _mirror()])
        finally:
            # An interrupted debootstrap leaves it mounted, and a clean-up would walk into it.
            if (root / "proc").is_mount():
                _run(["umount", str(root / "proc")])
        # Each layer is a copy of everything below it.
        unused = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale")
        for name in unused:
            shutil.rmtree(root / name)
        container = self("from", "scratch")
        self("add", "--quiet", container, str(root), "/")
        self("commit", "--quiet", "--rm", container, BASE)
        shutil.rmtree(root)

    def build(self) -> None:
        """The project's own Dockerfile, on that base."""
        volumes = [f"--volume={name}:{name}:ro" for name in MACHINE_FILES if Path(name).exists()]
        self(
            "build",
            "--isolation=chroot",
            "--pull-never",
            *volumes,
            f"--build-arg=PYTHON_IMAGE={BASE}",
            "--build-arg=VERSION=test",
            f"--tag={IMAGE}",
            str(PROJECT),
        )

    def config(self, image: str = IMAGE) -> dict[str, Any]:
        """The image's configuration: user, entry point, environment, labels."""
        found: dict[str, Any] = json.loads(self("inspect", "--type", "image", image))
        config: dict[str, Any] = found["OCIv1"]["config"]
        return config

    def history(self) -> list[str]:
        """The commands of the image's layers."""
        found = json.loads(self("inspect", "--type", "image", IMAGE))
        return [step.get("created_by", "") for step in found["OCIv1"]["history"]]

    @contextmanager
    def root(self, image: str = IMAGE) -> Iterator[Path]:
        """The files of a new container."""
        container = self("from", "--pull-never", image)
        try:
            yield Path(self("mount", container))
        finally:
            self("rm", container)


def _mirror() -> str:
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    for file in sources:
        for line in file.read_text().splitlines() if file.is_file() else []:
            words = line.split()
            if line.startswith("URIs:") and "/debian" in words[1]:
                return words[1]
            if line.startswith("deb ") and "/debian" in line:
                return next(word for word in words if "://" in word)
    raise RuntimeError("no file of apt's sources names a mirror of Debian: the base comes from one")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a container runs. `mounts`: path in the container → path here."""

    user: int = 10001
    mounts: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


class Container:
    """A process in the image, as restricted as a pod allows.

    Its root is read-only, it has no capabilities and is process 1 of its own namespace. It uses the
    network of this machine.
    """

    def __init__(self, root: Path, image: Mapping[str, Any], directory: Path) -> None:
        self._root = root
        self._image = image
        self._directory = directory
        self._name = f"appmetrica-worker-{secrets.token_hex(4)}"
        self.log_file = directory / f"{self._name}.log"

    def run(self, arguments: Sequence[str], options: RunOptions) -> subprocess.Popen[bytes]:
        """Start the image's entry point with these arguments."""
        bundle = self._directory / self._name
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(self._bundle(arguments, options)))
        # Output goes to a file: a pipe that nobody reads would fill up.
        with self.log_file.open("wb") as log:
            return subprocess.Popen(
                ["runc", "--root", str(self._directory / "runc"), "run", self._name],
                cwd=bundle,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def finish(self, arguments: Sequence[str], options: RunOptions) -> tuple[int, str]:
        """Run to the end: the exit code and what was printed."""
        code = self.run(arguments, options).wait(timeout=60)
        return code, self.log_file.read_text()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to process 1."""
        runc = ["runc", "--root", str(self._directory / "runc")]
        _run([*runc, "kill", self._name, str(int(number))])

    def _bundle(self, arguments: Sequence[str], options: RunOptions) -> dict[str, Any]:
        environment = [*self._image.get("Env", [])]
        environment += [f"{name}={value}" for name, value in options.environment.items()]
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "mode=755", "size=65536k"],
            },
        ]
        mounts += [
            {
                "destination": inside,
                "type": "bind",
                "source": str(outside),
                "options": ["rbind", "rw" if outside.name == "state" else "ro"],
            }
            for inside, outside in options.mounts.items()
        ]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "terminal": False,
                "user": {"uid": options.user, "gid": options.user},
                "args": [*self._image["Entrypoint"], *arguments],
                "env": environment,
                "cwd": "/",
                "noNewPrivileges": True,
                "capabilities": {},
            },
            "root": {"path": str(self._root), "readonly": True},
            "mounts": mounts,
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc")]},
        }
