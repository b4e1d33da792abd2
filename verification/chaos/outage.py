"""A long outage of the API at full load: memory stays flat, probes pass, and the lag goes to 0."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from verification.chaos.members import Limits
from verification.chaos.stage import Script, Stage

MEMORY_BYTES_MAX = 32 * 1024 * 1024
# The interpreter with all its modules, what the allocator keeps, and the window: see
# `limits.memory_bytes_max` in the example.
ALLOWANCE_BYTES = 96 * 1024 * 1024
# Between two readings, once everything is full.
DRIFT_BYTES_MAX = 16 * 1024 * 1024
SAMPLE_SECONDS = 1.0
# Published before the outage begins to count, so that nothing waits for records.
BACKLOG = 60_000
DRAIN_SECONDS_MAX = 600.0
FILLING_SHARE = 0.25


def script(seed: int, records_per_second: float, mutant: str | None) -> Script:
    """Two workers with little memory and a span so wide that only memory stops them."""
    return Script(
        seed=seed,
        records_per_second=records_per_second,
        noise_characters=900,
        members=2,
        limits=Limits(rows_per_batch=1000),
        overrides={"limits": {"memory_bytes_max": MEMORY_BYTES_MAX, "span_records_max": 1_000_000}},
        mutant=mutant,
    )


async def long_outage(stage: Stage, seconds: float) -> None:
    """Play the outage, and check memory and probes during it."""
    async with stage.during(f"API down for {seconds:g} s at full load", DRAIN_SECONDS_MAX) as phase:
        await stage.plan({"kind": "status", "status": 503})
        await stage.producer.publish(BACKLOG)
        phase.count += 1
        samples: list[list[int]] = []
        green = looks = 0
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            samples.append([member.resident_bytes() for member in stage.members])
            answers = await asyncio.gather(*(member.answers("/livez") for member in stage.members))
            green, looks = green + sum(answers), looks + len(answers)
            await asyncio.sleep(SAMPLE_SECONDS)
        for index, member in enumerate(stage.members):
            grown = _complaints(stage, member.name, [sample[index] for sample in samples])
            phase.complaints.extend(grown)
        stage.console.print(f"  /livez: green {green} times of {looks}", highlight=False)
        if green != looks:
            phase.complaints.append(f"/livez was not green {looks - green} times of {looks}")
        await stage.plan()


def _complaints(stage: Stage, name: str, resident: Sequence[int]) -> list[str]:
    full = resident[round(len(resident) * FILLING_SHARE) :]
    mib = [
        round(figure / 2**20) for figure in (resident[0], full[0], full[-1], min(full), max(full))
    ]
    allowed = MEMORY_BYTES_MAX + ALLOWANCE_BYTES
    stage.console.print(
        f"  {name}: resident {mib[0]} MiB at first, {mib[1]} when full, {mib[2]} at the end; "
        f"between {mib[3]} and {mib[4]} since it was full, allowed {allowed >> 20}",
        highlight=False,
    )
    complaints = []
    if max(resident) > allowed:
        complaints.append(f"{name} took {max(resident) >> 20} MiB of {allowed >> 20}")
    if max(full) - full[0] > DRIFT_BYTES_MAX:
        complaints.append(f"the memory of {name} is not flat: from {mib[1]} to {mib[4]} MiB")
    return complaints
