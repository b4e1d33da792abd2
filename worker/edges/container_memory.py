"""The memory limit of the container: beyond it the kernel kills the process.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max), and cgroup-v1/memory.html
(memory.limit_in_bytes).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# Version 1 writes the largest number of whole pages for "no limit".
NO_LIMIT_BYTES = 2**60


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """Return the lowest limit of the process's control groups, of either version.

    None: there is no limit, or it is not known.

    Args:
        root: the directory with `/proc` and `/sys`.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        # Not Linux, or a process that may not read its own entry.
        return None
    limits = [
        limit
        for group in groups
        for file in _files(root / "sys/fs/cgroup", group)
        if (limit := _limit(file)) is not None
    ]
    return min(limits, default=None)


def _files(mount: Path, group: str) -> Iterator[Path]:
    """Yield the files with the limits of this group and of the groups around it."""
    number, _, rest = group.partition(":")
    controllers, _, path = rest.partition(":")
    if number == "0" and not controllers:
        directory, name = mount, "memory.max"
    elif "memory" in controllers.split(","):
        directory, name = mount / "memory", "memory.limit_in_bytes"
    else:
        return
    # Within a container the mount may show its own group as the topmost, while the path is the
    # host's.
    parts = [part for part in PurePosixPath(path).parts if part != "/"]
    yield directory / name
    if ".." not in parts:
        yield from (directory.joinpath(*parts[:depth], name) for depth in range(1, len(parts) + 1))


def _limit(file: Path) -> int | None:
    try:
        limit = int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        # Missing, or `max`.
        return None
    return limit if limit < NO_LIMIT_BYTES else None
