"""Bounds the CPU of a process to a share of a core, so that several fit on a small machine.

By a control group (https://docs.kernel.org/scheduler/sched-bwc.html), version 1 or 2. Needs root.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
PERIOD_MICROSECONDS = 20_000


def why_unshareable() -> str:
    """Return why processes can't be bounded on this machine; empty if they can."""
    try:
        with _group():
            return ""
    except OSError as error:
        return f"control groups of the CPU can't be used: {error}"


@contextmanager
def core_share(pid: int, share: float) -> Iterator[None]:
    """Let this process, with all its threads, take this share of one core.

    Raises:
        OSError: this user may not create a control group here, or there is no CPU controller.
    """
    with _group() as group:
        quota = int(PERIOD_MICROSECONDS * share)
        if (group / "cpu.max").exists():
            _write(group / "cpu.max", f"{quota} {PERIOD_MICROSECONDS}")
        else:
            _write(group / "cpu.cfs_period_us", f"{PERIOD_MICROSECONDS}")
            _write(group / "cpu.cfs_quota_us", f"{quota}")
        _write(group / "cgroup.procs", f"{pid}")
        try:
            yield
        finally:
            # Only an empty group can be removed.
            _write(group.parent / "cgroup.procs", f"{pid}")


@contextmanager
def _group() -> Iterator[Path]:
    group = _hierarchy() / f"appmetrica-bench-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        yield group
    finally:
        group.rmdir()


def _hierarchy() -> Path:
    """Return where the groups of the CPU controller are created."""
    of_version_1 = _ROOT / "cpu"
    if of_version_1.is_dir():
        return of_version_1
    _write(_ROOT / "cgroup.subtree_control", "+cpu")
    return _ROOT


def _write(file: Path, text: str) -> None:
    # Not `write_text`: it would create a file where the kernel has none.
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
