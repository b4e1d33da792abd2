"""Processes of ours that never outlive us."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def start_process(
    command: Sequence[str], output: IO[bytes], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process whose output goes to a file.

    It is in a session of its own, so that Ctrl-C in a terminal reaches only us and everything is stopped in order; and where
    the kernel can do it (Linux), it is killed when the thread that started it is gone, so that not even SIGKILL leaves it
    behind. Call this from the main thread: any other may end before its time.
    """
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(environment) if environment is not None else None,
        start_new_session=True,
        preexec_fn=_die_with_parent if _libc is not None else None,
    )


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
