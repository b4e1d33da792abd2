"""What this package expects of aiokafka, and the check at start-up that it is there.

The names are private: any release may rename them without notice. A worker that finds this out in
the middle of an outage is worse than a worker that does not start.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import aiokafka.client
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator, NoGroupCoordinator
from aiokafka.consumer.subscription_state import Subscription
from aiokafka.producer.sender import Sender

from worker.edges.kafka.aiokafka_internals import wrong_release
from worker.edges.kafka.aiokafka_internals.decompression import REPLACED_FUNCTIONS


@dataclass(frozen=True, slots=True)
class ExpectedName:
    """An attribute of a class or a module.

    Attributes:
        owner: the class or the module.
        attribute: its private name.
        is_set_at_start: instances have the attribute, because `__init__` sets it.
    """

    owner: type | ModuleType
    attribute: str
    is_set_at_start: bool = False

    def __str__(self) -> str:
        name = self.owner.__name__
        module = "" if isinstance(self.owner, ModuleType) else f"{self.owner.__module__}."
        return f"{module}{name}.{self.attribute}"

    def is_there(self) -> bool:
        """Return whether this aiokafka has the attribute.

        No instance exists before brokers have been reached, so `__init__` itself is read.
        """
        if not self.is_set_at_start:
            return hasattr(self.owner, self.attribute)
        return self.attribute in self.owner.__init__.__code__.co_names  # type: ignore[misc]


def _expected() -> tuple[ExpectedName, ...]:
    instances: dict[type, tuple[str, ...]] = {
        AIOKafkaConsumer: ("_client", "_coordinator", "_fetcher", "_subscription"),
        AIOKafkaProducer: ("_closed", "_sender"),
        Fetcher: ("_closed", "_fetch_task", "_pending_tasks", "_records"),
        FetchResult: ("_partition_records",),
        PartitionRecords: ("_records",),
        GroupCoordinator: ("_commit_refresh_task", "_coordination_task", "_heartbeat_task"),
        NoGroupCoordinator: ("_reset_committed_task",),
        Subscription: ("_topics",),
    }
    classes: dict[type, tuple[str, ...]] = {
        Fetcher: ("_create_fetch_waiter", "_get_actions_per_node"),
        GroupCoordinator: ("request_rejoin",),
        AIOKafkaConnection: ("authenticator_oauth",),
        PartitionRecords: ("_consumer_record",),
        Sender: ("sender_task",),
    }
    return (
        *(ExpectedName(owner, name, True) for owner, names in instances.items() for name in names),
        *(ExpectedName(owner, name) for owner, names in classes.items() for name in names),
        *(ExpectedName(module, name) for module, name in REPLACED_FUNCTIONS),
        ExpectedName(aiokafka.client, "create_conn"),
    )


EXPECTED_NAMES = _expected()


def check() -> None:
    """Check that aiokafka has all private names that the worker uses.

    Called before anything else starts, and by `check-config`. A normal return does not promise
    that the names mean what they meant in the release that this package was written for.

    Raises:
        UnavailableError: a name is missing.
    """
    missing = [str(name) for name in EXPECTED_NAMES if not name.is_there()]
    if missing:
        raise wrong_release(missing)
