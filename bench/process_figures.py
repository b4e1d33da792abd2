"""What the kernel says of a process. Linux only."""

from __future__ import annotations

import os
from pathlib import Path

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def peak_bytes(pid: int) -> float:
    """The most memory that was resident at once. Not getrusage's: that begins with the parent's."""
    return _status_bytes(pid, "VmHWM")


def resident_bytes(pid: int) -> float:
    """The memory that is resident at this moment."""
    return _status_bytes(pid, "VmRSS")


def _status_bytes(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if name in line)) * 1024
