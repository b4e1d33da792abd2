"""What a worker may need, beside what its container allows."""

from __future__ import annotations

import pytest

from worker.settings.load import load
from worker.settings.schema import Settings
from worker.tools.connection_check import CheckResult
from worker.tools.memory_check import MEBIBYTE, judge_memory, memory_needed_bytes

KEY = "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY"


def settings(**flags: str) -> Settings:
    return load(
        None,
        {KEY: "secret-key"},
        None,
        {name.replace("__", "."): value for name, value in flags.items()},
    ).settings


def test_what_is_needed_is_records_keys_of_all_topics_and_the_process() -> None:
    some = settings(
        limits__memory_bytes_max=str(100 * MEBIBYTE), dedup__window_rows_max=str(MEBIBYTE)
    )
    assert memory_needed_bytes(some) == (100 + 128 + 96) * MEBIBYTE
    routes = "[{topic: a}, {topic: b}, {topic: c}]"
    assert memory_needed_bytes(settings(routes=routes)) == memory_needed_bytes(settings())


def test_the_defaults_fit_the_limit_of_the_chart() -> None:
    assert judge_memory(settings(), 640 * MEBIBYTE).standing is CheckResult.OK


@pytest.mark.parametrize(
    ("limit", "standing"),
    [(None, CheckResult.OK), (0, CheckResult.OK), (-1, CheckResult.WARNING)],
    ids=["none", "just", "too little"],
)
def test_a_limit_below_the_need_is_a_warning(limit: int | None, standing: CheckResult) -> None:
    some = settings()
    assert (
        judge_memory(some, None if limit is None else memory_needed_bytes(some) + limit).standing
        is standing
    )


def test_a_warning_says_what_adds_up_and_what_to_do() -> None:
    found = judge_memory(settings(), 256 * MEBIBYTE)
    assert (found.what, found.standing) == ("memory", CheckResult.WARNING)
    for part in (
        "at most 474 MiB",
        "allows 256 MiB",
        "limits.memory_bytes_max 256 MiB",
        "1,000,000 of 128 B",
        "raise the container's limit",
    ):
        assert part in found.detail
