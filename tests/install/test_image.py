"""The image: built from the Dockerfile, and run as Kubernetes would run it.

`make image` runs these tests. They need root, Debian's packages and some minutes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import orjson
import pytest
import yaml

import worker
from tests.e2e.stage import KEYS, mixed, on_stage
from tests.install.chart import merged
from tests.install.image import (
    BASE,
    BUILD_SECONDS_MAX,
    CONFIG_PATH,
    DIRECTORY,
    MACHINE_FILES,
    PROJECT,
    TOOLS,
    Buildah,
    Container,
    RunOptions,
    install_tools,
)
from worker.sandbox.kafka import free_ports

# Worker, interpreter's packages and byte code; the base is not counted.
INSTALLED_MEBIBYTES_MAX = 120
RECORDS = 1000
READY_SECONDS_MAX = 30

# The first test waits for the base and the build.
pytestmark = pytest.mark.timeout(BUILD_SECONDS_MAX)

NewContainer = Callable[[], Container]


@pytest.fixture(scope="module")
def buildah() -> Buildah:
    install_tools(TOOLS)
    tool = Buildah(DIRECTORY)
    tool.make_base()
    tool.build()
    return tool


@pytest.fixture(scope="module")
def root(buildah: Buildah) -> Iterator[Path]:
    with buildah.root() as path:
        yield path


@pytest.fixture
def new_container(buildah: Buildah, root: Path, tmp_path: Path) -> NewContainer:
    image = buildah.config()
    return lambda: Container(root, image, tmp_path)


def test_hadolint_has_no_complaint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, PROJECT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.image
def test_image_says_how_it_runs(buildah: Buildah) -> None:
    config = buildah.config()
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["/opt/worker/bin/appmetrica-worker"]
    assert config["Cmd"] == ["run", "--config", f"{CONFIG_PATH}/config.yaml"]
    assert config["StopSignal"] == "SIGTERM"
    assert {port.removesuffix("/tcp") for port in config["ExposedPorts"]} == {"9090"}
    assert {"MALLOC_MMAP_THRESHOLD_=131072", "MALLOC_TRIM_THRESHOLD_=131072"} <= set(config["Env"])
    labels = {
        name.rpartition(".")[2]: value
        for name, value in config["Labels"].items()
        if name.startswith("org.opencontainers.image.")
    }
    assert labels["title"] == "appmetrica-worker"
    assert labels["version"] == "test"
    assert labels["licenses"] == "Apache-2.0"


@pytest.mark.image
def test_image_adds_only_the_worker_to_its_base(buildah: Buildah, root: Path) -> None:
    """No secret, no setting of the machine that built it, no build tool; owned by root."""
    with buildah.root(BASE) as base:
        before = {path.relative_to(base) for path in _files(base)}
    added = {path.relative_to(root) for path in _files(root)} - before
    assert {path.parts[:2] for path in added} == {("opt", "worker")}
    assert not any(part in {"pip", "hatchling", "Cython"} for path in added for part in path.parts)
    assert not (root / MACHINE_FILES[0].lstrip("/")).exists()
    installed = [path.lstat() for path in _files(root / "opt")]
    assert {(found.st_uid, found.st_gid) for found in installed} == {(0, 0)}
    writable = stat.S_IWGRP | stat.S_IWOTH
    assert not [
        found for found in installed if found.st_mode & writable and not stat.S_ISLNK(found.st_mode)
    ]
    size = sum(found.st_size for found in installed)
    assert size < INSTALLED_MEBIBYTES_MAX * 1024 * 1024


def _files(directory: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(directory):
        yield from (Path(parent) / name for name in names)


@pytest.mark.image
def test_modules_are_compiled(root: Path) -> None:
    sources = [path for path in _files(root / "opt/worker/lib") if path.suffix == ".py"]
    # Files of tests and templates of packages may not compile.
    ours = [path for path in sources if "worker" in path.parts[path.parts.index("lib") :]]
    assert ours
    for source in ours:
        assert list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")), source


@pytest.mark.image
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(RunOptions(), id="user of the image"),
        pytest.param(RunOptions(user=1_234_567), id="user without an entry and without a home"),
        pytest.param(RunOptions(environment={"HOME": "/nonexistent"}), id="home that isn't there"),
    ],
)
def test_commands_run_for_any_user(new_container: NewContainer, options: RunOptions) -> None:
    code, output = new_container().finish(["version"], options)
    assert code == 0, output
    assert worker.__version__ in output


@pytest.mark.image
def test_the_image_has_the_compiled_pass(new_container: NewContainer) -> None:
    code, output = new_container().finish(["version", "--json"], RunOptions())
    assert code == 0, output
    assert orjson.loads(output) == {"version": worker.__version__, "fast_pass": "compiled"}


@pytest.mark.image
def test_configuration_is_checked_in_the_image(new_container: NewContainer, tmp_path: Path) -> None:
    directory = _configuration(tmp_path, {"log": {"level": "loud"}})
    options = RunOptions(user=1_234_567, mounts={CONFIG_PATH: directory})
    arguments = ["check-config", "--config", f"{CONFIG_PATH}/config.yaml"]
    code, output = new_container().finish(arguments, options)
    assert code == 78, output
    assert "log.level" in output
    _configuration(tmp_path, {"log": {"level": "info"}})
    code, output = new_container().finish(arguments, options)
    assert code == 0, output


def _configuration(tmp_path: Path, values: dict[str, object]) -> Path:
    """What the chart mounts: the file, and a folder of keys."""
    directory = tmp_path / "etc"
    (directory / "keys").mkdir(parents=True, exist_ok=True)
    applications = {}
    for application, key in KEYS.items():
        (directory / "keys" / str(application)).write_text(key)
        file = f"{CONFIG_PATH}/keys/{application}"
        applications[str(application)] = {"post_api_key_file": file}
    content = merged({"appmetrica": {"applications": applications}}, values)
    (directory / "config.yaml").write_text(yaml.safe_dump(content))
    return directory


async def _answer(port: int, path: str) -> bytes:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/{path}") as response,
    ):
        response.raise_for_status()
        return await response.read()


async def _ready(port: int, container: Container, process: subprocess.Popen[bytes]) -> None:
    for _ in range(round(READY_SECONDS_MAX / 0.1)):
        if process.poll() is not None:
            break
        try:
            await _answer(port, "readyz")
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError(f"not ready: {container.log_file.read_text()}")


@pytest.mark.image
async def test_image_delivers_and_drains_on_sigterm(
    new_container: NewContainer, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Everything that it is sent, as a user without an entry, on a read-only root."""
    topic = f"test-image-{secrets.token_hex(4)}"
    async with on_stage(bootstrap_servers, topic, tmp_path) as stage:
        port = free_ports(1)[0]
        directory = _configuration(
            tmp_path,
            {
                "kafka": {"bootstrap_servers": bootstrap_servers, "group_id": topic},
                "routes": [{"topic": topic, "resource": "events"}],
                "appmetrica": {"base_url": stage.emulator.base_url},
                "dead_letter": {"topic": stage.dead_letter_topic},
                "parking": {"enabled": False},
                "state_dir": "/var/lib/appmetrica-worker",
                "admin": {"host": "127.0.0.1", "port": port},
            },
        )
        state = tmp_path / "state"
        state.mkdir()
        os.chown(state, 1_234_567, 1_234_567)
        container = new_container()
        process = container.run(
            ["run", "--config", f"{CONFIG_PATH}/config.yaml"],
            RunOptions(
                user=1_234_567,
                mounts={CONFIG_PATH: directory, "/var/lib/appmetrica-worker": state},
            ),
        )
        try:
            await _ready(port, container, process)
            await stage.publish(mixed(RECORDS))
            await stage.await_settled()
            status = await _answer(port, "status")
            topics = orjson.loads(status)["topics"].values()
            dropped = sum(int(topic["duplicates"]) for topic in topics)
            container.send(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 60) == 0, container.log_file.read_text()
        finally:
            if process.poll() is None:
                container.send(signal.SIGKILL)
                process.wait(10)
        assert (await stage.reconcile(dropped)).faults == ()
        assert '"stopped"' in container.log_file.read_text()
        assert list(state.iterdir())
