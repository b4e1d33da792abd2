"""Builds the parts of the cluster out of Go modules, once.

These are Kubernetes as one program, kube-router, the pause image, and the custom resource
definitions of other projects; and actionlint, which no package of Python brings along. The result
is kept under XDG_CACHE_HOME, by the hash of everything that it depends on.
"""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

_LOG = logging.getLogger(__name__)

HERE = Path(__file__).parent
SOURCES = (
    "kube/go.mod",
    "kube/go.sum",
    "kube/main.go",
    "kube/pause/main.go",
    "netpol/go.mod",
    "netpol/go.sum",
    "workflow/go.mod",
    "workflow/go.sum",
)
COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)
KUBERNETES = "k8s.io/kubernetes"
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint"
ROUTER = "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
PAUSE_IMAGE = "localhost/pause:1"
# Not in PATH under sudo.
USUAL_GO = "/usr/local/go/bin"
BUILD_SECONDS_MAX = 3600.0


@dataclass(frozen=True, slots=True)
class Definitions:
    """Custom resource definitions in a Go module, which is checked against its hash."""

    module: str
    sum: str
    files: tuple[str, ...]


DEFINITIONS = (
    Definitions(
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        tuple(
            f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
            for kind in ("podmonitors", "servicemonitors", "prometheusrules")
        ),
    ),
    Definitions(
        "github.com/kedacore/keda/v2@v2.20.2",
        "h1:SR60v8uIcelbveS8n/1jcl8tLdBBIbHMxmdOHw8tKqA=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    ),
)


@dataclass(frozen=True, slots=True)
class Programs:
    """What was built, in one directory."""

    directory: Path

    @property
    def bin(self) -> Path:
        """The programs, each by the name of its component."""
        return self.directory / "bin"

    @property
    def pause_image(self) -> Path:
        """The image of the pause container, as an archive."""
        return self.directory / "pause.tar"

    @property
    def definitions(self) -> Path:
        """The custom resource definitions."""
        return self.directory / "definitions"


def built() -> Programs:
    """The programs, built unless they are there.

    Raises:
        RuntimeError: without Go, or if the build fails.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "appmetrica-worker" / "cluster"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = home / _hash()
        if not kept.exists():
            _build(home, kept)
        return Programs(kept)


def _hash() -> str:
    content = sha256(repr((DEFINITIONS, COMPONENTS, ROUTER, ACTIONLINT)).encode())
    for name in SOURCES:
        content.update((HERE / name).read_bytes())
    return content.hexdigest()[:16]


def find_go(paths: str) -> str:
    """The program, in one of these folders (as in PATH).

    Raises:
        RuntimeError: it is not installed; with the remedy.
    """
    found = shutil.which("go", path=paths)
    if found is None:
        raise RuntimeError(
            "Kubernetes is built with Go, which is not installed: install Go 1.26 or newer, so "
            f"that `go` is in PATH or in {USUAL_GO}"
        )
    return found


class _Go:
    """Go with a cache of its own, which is removed after a complete build."""

    def __init__(self, cache: Path) -> None:
        self._program = find_go(f"{os.environ['PATH']}:{USUAL_GO}")
        self._cache = cache

    def __call__(self, *arguments: str, folder: Path) -> str:
        """Run a command of Go in the folder of a module, and return what it prints."""
        caches = {"GOCACHE": str(self._cache / "objects"), "GOMODCACHE": str(self._cache / "mod")}
        done = subprocess.run(
            [self._program, *arguments],
            cwd=folder,
            env=os.environ | caches | {"CGO_ENABLED": "0"},
            stdout=subprocess.PIPE,
            text=True,
            timeout=BUILD_SECONDS_MAX,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"go {' '.join(arguments)} ended with {done.returncode}")
        return done.stdout.strip()

    def build(self, target: Path, package: str, *, module: str, flags: Sequence[str] = ()) -> None:
        """Build a static program."""
        options = ("-trimpath", f"-ldflags={' '.join(('-s', '-w', *flags))}", "-o", str(target))
        self("build", *options, package, folder=HERE / module)

    def forget(self) -> None:
        """Remove the cache: 5 GB."""
        shutil.rmtree(self._cache)


def _build(home: Path, kept: Path) -> None:
    go = _Go(home / "go")
    began = time.monotonic()
    _LOG.info("building Kubernetes from Go modules, once: 20 minutes of CPU time")
    partial = home / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    programs = Programs(partial)
    programs.bin.mkdir(parents=True)
    version = go("list", "-m", "-f={{.Version}}", KUBERNETES, folder=HERE / "kube")
    minor = version.split(".")[1]
    # Without its version a component ends with a panic at its start.
    known = {"gitVersion": version, "gitMajor": "1", "gitMinor": minor, "gitTreeState": "clean"}
    flags = [f"-X=k8s.io/component-base/version.{name}={value}" for name, value in known.items()]
    go.build(programs.bin / "kube", ".", module="kube", flags=flags)
    for name in COMPONENTS:
        (programs.bin / name).symlink_to("kube")
    _LOG.info("built Kubernetes %s after %.0f s", version, time.monotonic() - began)
    go.build(programs.bin / "kube-router", ROUTER, module="netpol")
    go.build(programs.bin / "actionlint", ACTIONLINT, module="workflow")
    go.build(partial / "pause", "./pause", module="kube")
    architecture = go("env", "GOARCH", folder=HERE)
    write_image(programs.pause_image, PAUSE_IMAGE, partial / "pause", architecture)
    programs.definitions.mkdir()
    for definitions in DEFINITIONS:
        _copy(go, definitions, programs.definitions)
    partial.rename(kept)
    go.forget()
    _LOG.info("built all after %.0f s", time.monotonic() - began)


def _copy(go: _Go, definitions: Definitions, target: Path) -> None:
    found = json.loads(go("mod", "download", "-json", definitions.module, folder=target))
    if found["Sum"] != definitions.sum:
        raise RuntimeError(f"{definitions.module} has the hash {found['Sum']}")
    for name in definitions.files:
        shutil.copy(Path(found["Dir"]) / name, target)


def write_image(archive: Path, name: str, program: Path, architecture: str) -> None:
    """An image of one static program, as an archive that `docker save` would write."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        files.add(program, arcname=program.name)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{sha256(layer.getvalue()).hexdigest()}"],
        },
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    parts = {
        "layer.tar": layer.getvalue(),
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    with tarfile.open(archive, "w") as files:
        for path, content in parts.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            files.addfile(entry, io.BytesIO(content))
