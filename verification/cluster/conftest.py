"""One release for most scenarios: two workers, in a namespace with the strictest standard."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from verification.cluster.programs import built
from verification.cluster.release import Release
from verification.cluster.world import kubectl, surroundings


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Everything around the cluster."""
    if "KUBECONFIG" not in os.environ:
        pytest.fail("these scenarios need a cluster and its network: run `make cluster`")
    with surroundings(tmp_path_factory.mktemp("surroundings")):
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def release(world: None) -> AsyncIterator[Release]:
    """Installed, and ready."""
    found = Release("steady")
    await found.prepare()
    await found.install()
    yield found
    await found.uninstall()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def definitions() -> None:
    """The kinds of the Prometheus operator and of KEDA."""
    await kubectl("apply", "--server-side", f"--filename={built().definitions}")
    await kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all")
