"""A mutant that makes the worker crash isn't noticed, whoever catches the error."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from verification.simulation.__main__ import is_noticed
from verification.simulation.history import TASK_DIED, play
from verification.simulation.mutants import MUTANTS, mutated
from verification.simulation.mutants.swap import Swap
from worker.core.progress.tracker import Tracker
from worker.edges.kafka.poller import Poller
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.edges.kafka.source import KafkaSource

SEED = 3
# A worker that has crashed leaves clients unclosed, which warn when they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect these clients while their warnings are ignored: later they would fail the run."""
    yield
    gc.collect()


def does_not_fit() -> None:
    """Whoever calls this with arguments raises a `TypeError`."""


def looks_for_what_is_gone(owner: object, *_: object) -> None:
    """Asks for an attribute that isn't there."""
    owner.attribute_of_an_earlier_version  # type: ignore[attr-defined]  # noqa: B018


async def fails_unobserved(*_: object) -> None:
    """Fails in a task that nobody awaits."""

    async def work() -> None:
        looks_for_what_is_gone(object())

    asyncio.get_running_loop().create_task(work(), name="unobserved")
    await asyncio.Event().wait()


CRASHES: dict[str, tuple[type, str, object]] = {
    "in the core": (Tracker, "safe_position", does_not_fit),
    "in a task of the source": (Poller, "round", does_not_fit),
    "in a callback, with which aiokafka goes on": (
        Rebalances,
        "on_partitions_assigned",
        does_not_fit,
    ),
    "there, by an attribute": (Rebalances, "on_partitions_revoked", looks_for_what_is_gone),
    "in a close, which goes on": (KafkaSource, "close", looks_for_what_is_gone),
    "in a task that nobody awaits": (KafkaSource, "watch_topics", fails_unobserved),
}


@pytest.mark.parametrize(("owner", "attribute", "value"), CRASHES.values(), ids=CRASHES)
def test_a_crash_is_not_noticed(
    owner: type, attribute: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(swap: Swap) -> None:
        swap(owner, attribute, value)

    monkeypatch.setitem(MUTANTS, "crash", crash)
    with mutated("crash"):
        outcome = play(SEED)
    assert (outcome.violation, is_noticed(outcome)) == (TASK_DIED, False), outcome.text
