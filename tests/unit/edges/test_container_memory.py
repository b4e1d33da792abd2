"""The limit of the container, from control groups of both versions as they look from within."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from worker.edges.container_memory import memory_limit_bytes

UNLIMITED_V1 = "9223372036854771712"
V1 = "12:cpuset:/\n4:memory:{0}\n3:cpu,cpuacct:/\n1:name=systemd:/\n"
CASES: dict[str, tuple[str, Mapping[str, str], int | None]] = {
    "version 2, in a container": ("0::/\n", {"memory.max": "671088640"}, 671088640),
    "version 2, no limit": ("0::/\n", {"memory.max": "max"}, None),
    "version 2, on a host": (
        "0::/system.slice/amw.service\n",
        {"system.slice/amw.service/memory.max": "1000"},
        1000,
    ),
    "version 2, the group around it allows less": (
        "0::/a/b\n",
        {"a/memory.max": "500", "a/b/memory.max": "1000"},
        500,
    ),
    "version 2, the topmost group is the container's": (
        "0::/kubepods/pod1/abc\n",
        {"memory.max": "700"},
        700,
    ),
    "version 2, a path out of the namespace": ("0::/../other\n", {"memory.max": "700"}, 700),
    "version 1": (
        V1.format("/docker/abc"),
        {"memory/docker/abc/memory.limit_in_bytes": "800"},
        800,
    ),
    "version 1, in a container": (
        V1.format("/docker/abc"),
        {"memory/memory.limit_in_bytes": "800"},
        800,
    ),
    "version 1, no limit": (V1.format("/"), {"memory/memory.limit_in_bytes": UNLIMITED_V1}, None),
    "both": (
        V1.format("/") + "0::/\n",
        {"memory/memory.limit_in_bytes": "900", "memory.max": "max"},
        900,
    ),
    "memory beside another controller": (
        "4:cpu,memory:/x\n",
        {"memory/x/memory.limit_in_bytes": "900"},
        900,
    ),
    "no such files": ("0::/\n", {}, None),
    "garbage": ("0::/\nnonsense\n", {"memory.max": "lots"}, None),
}


@pytest.mark.parametrize(("groups", "files", "limit"), CASES.values(), ids=CASES)
def test_the_least_limit_around_the_process_is_found(
    tmp_path: Path, groups: str, files: Mapping[str, str], limit: int | None
) -> None:
    file = tmp_path / "proc/self/cgroup"
    file.parent.mkdir(parents=True)
    file.write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert memory_limit_bytes(tmp_path) == limit


def test_without_control_groups_no_limit_is_known(tmp_path: Path) -> None:
    assert memory_limit_bytes(tmp_path) is None
