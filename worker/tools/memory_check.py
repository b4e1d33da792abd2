"""Compares what a worker may need with what its container allows."""

from __future__ import annotations

from worker.core.dedup.key_memory import KEY_BYTES
from worker.settings.schema import Settings
from worker.tools.connection_check import CheckResult, Finding

MEBIBYTE = 1024 * 1024
# The interpreter, the libraries, and what the Kafka clients have fetched ahead.
PROCESS_BYTES = 96 * MEBIBYTE


def memory_needed_bytes(settings: Settings) -> int:
    """What a worker with these settings takes at most: records, remembered keys, and the process
    itself.
    """
    return (
        settings.limits.memory_bytes_max
        + settings.dedup.window_rows_max * KEY_BYTES
        + PROCESS_BYTES
    )


def judge_memory(settings: Settings, limit_bytes: int | None) -> Finding:
    """What is to be said of a container with this limit; None: it has none."""
    needed = memory_needed_bytes(settings)
    if limit_bytes is None:
        return Finding(
            "memory", CheckResult.OK, f"at most {_text(needed)}; no limit is set for the container"
        )
    detail = f"at most {_text(needed)}; the container allows {_text(limit_bytes)}"
    if needed <= limit_bytes:
        return Finding("memory", CheckResult.OK, detail)
    parts = (
        f"limits.memory_bytes_max {_text(settings.limits.memory_bytes_max)}, "
        f"{_text(PROCESS_BYTES)} for the process, "
        f"dedup.window_rows_max {settings.dedup.window_rows_max:,} of {KEY_BYTES} B"
    )
    advice = (
        "raise the container's limit, or lower these settings; otherwise a long outage may "
        "get the worker killed"
    )
    return Finding("memory", CheckResult.WARNING, f"{detail} ({parts}): {advice}")


def _text(count: int) -> str:
    return f"{count / MEBIBYTE:,.0f} MiB"
