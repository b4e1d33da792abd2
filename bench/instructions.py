"""Counts instructions with callgrind: a figure that moves only when the code does.

A process that is run by `counted` says what to count with `counting`. All else, its imports and
its preparation, runs without instrumentation, ten times as fast.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)
# The order of sets must be the same in each run.
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}

# Client requests of callgrind. Source: callgrind.h, with VG_USERREQ_TOOL_BASE('C', 'T').
_DUMP, _ZERO, _START, _STOP = (0x43540000 + number for number in (0, 1, 4, 5))
# A client request: valgrind recognises four rotations that change nothing, followed by an exchange
# of a register with itself. Source: valgrind.h, __SPECIAL_INSTRUCTION_PREAMBLE for amd64.
_REQUEST = bytes.fromhex(
    "4889f8"  # mov rax, rdi: the request and its arguments
    "31d2"  # xor edx, edx: the result outside of valgrind
    "48c1c703 48c1c70d 48c1c73d 48c1c733"  # rol rdi, 3; 13; 61; 51
    "4887db"  # xchg rbx, rbx
    "4889d0"  # mov rax, rdx
    "c3"  # ret
)


def why_unavailable() -> str:
    """Why instructions can't be counted on this machine; empty if they can."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed (package valgrind of Debian)"
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"counting is written for x86-64, and this machine is {platform.machine()}"
    return ""


@contextmanager
def counting() -> Iterator[None]:
    """Count what is executed inside, in a process that is run by `counted`."""
    _request(_START)
    _request(_ZERO)
    try:
        yield
    finally:
        _request(_DUMP)
        _request(_STOP)


def counted(module: str, arguments: Sequence[str]) -> list[int]:
    """Run a module; return the instructions of each of its `counting`, in order.

    Raises:
        subprocess.CalledProcessError: the module failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        profile = Path(directory) / "profile"
        callgrind = ("valgrind", "--tool=callgrind", "--quiet", "--instr-atstart=no")
        subprocess.run(
            [
                *callgrind,
                f"--callgrind-out-file={profile}",
                *(sys.executable, "-m", module, *arguments),
            ],
            check=True,
            env=os.environ | _ENVIRONMENT,
            stdout=subprocess.DEVNULL,
        )
        dumps = profile.parent.glob(f"{profile.name}.*")
        return [_total(dump) for dump in sorted(dumps, key=lambda one: int(one.suffix[1:]))]


def _request(number: int) -> None:
    arguments = (ctypes.c_ulong * 6)(number)
    _executable()(arguments)


@cache
def _executable() -> ctypes._FuncPointer:
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(_REQUEST)
    prototype = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)
    function = prototype(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    function.memory = memory  # type: ignore[attr-defined]
    return function


def _total(dump: Path) -> int:
    found = _TOTALS.search(dump.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise ValueError(f"{dump.name} has no total")
    return int(found[1])
