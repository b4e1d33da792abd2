"""What can end the process, each with the exit code that operators and supervisors see.

Failures of brokers and of the API (a broker that is away, a 503) are events, never exceptions of
these kinds: the worker survives them. An error here means that a person or the supervisor has to do
something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """The process's exit codes. Source: sysexits.h, where a number is known there."""

    OK = 0
    USAGE = 2
    BAD_DATA = 65
    UNAVAILABLE = 69
    INTERNAL = 70
    UNSETTLED = 75
    BAD_CONFIGURATION = 78


# What a shell reports for a process ended by SIGINT: a tool that was stopped by Ctrl-C.
INTERRUPTED = 130


class WorkerError(Exception):
    """A known reason to end the process. The message says what, where and what to do."""

    exit_code: ExitCode = ExitCode.INTERNAL


class UnavailableError(WorkerError):
    """Something the command needs (a broker, a Java runtime, a port) is not available."""

    exit_code = ExitCode.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the configuration.

    `path` is the dotted key (`kafka.group_id`), `source` where the value came from (`config.yaml`,
    `AMW_KAFKA__GROUP_ID`), `message` what is wrong and what to do. Never holds a secret's value.
    """

    path: str
    source: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message} (from {self.source})"


class ConfigurationError(WorkerError):
    """The configuration can't be used; carries every fault found, not just the first."""

    exit_code = ExitCode.BAD_CONFIGURATION

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        noun = "fault" if len(self.faults) == 1 else "faults"
        lines = "\n".join(f"  {fault}" for fault in self.faults)
        super().__init__(f"{len(self.faults)} {noun} in the configuration:\n{lines}")
