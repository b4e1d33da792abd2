"""Processes of ours that never outlive us."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import IO

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def start_process(
    command: Sequence[str], output: IO[bytes], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process whose output goes to a file.

    It is in a session of its own, so that Ctrl-C in a terminal reaches only us and everything is
    stopped in order; and where the kernel can do it (Linux), it is killed when the thread that
    started it is gone, so that not even SIGKILL leaves it behind. Call this from the main thread:
    any other may end before its time.
    """
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(environment) if environment is not None else None,
        start_new_session=True,
        preexec_fn=end_with(os.getpid()),
    )


def end_with(parent: int) -> Callable[[], None]:
    """What a child process calls first (as `preexec_fn`, or as the initializer of a pool) so that
    it ends with its parent.

    Where the kernel can do it (Linux), the child is killed when the thread that started it is gone;
    elsewhere nothing is done.
    """
    return partial(_end_with, parent)


def _end_with(parent: int) -> None:
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It was gone before the kernel knew.
        os.kill(os.getpid(), signal.SIGKILL)
