"""Authorized operations, as brokers with an authorizer report them.

Nothing is tried out, and the question creates nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.secured import GROUP, NAME, PASSWORD, TOPIC, USER, Secured
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity, Secret
from worker.edges.kafka.topics import HIDDEN, Operation, Permissions
from worker.sandbox.topics import create_topics

LOGIN = KafkaSecurity("SASL_PLAINTEXT", "SCRAM-SHA-256", USER, Secret(PASSWORD))


async def test_brokers_report_what_is_allowed_and_what_is_not_there(
    secured: Secured, new_topic: Callable[[str], str]
) -> None:
    open_one, read_only, closed, missing = map(
        new_topic, ("open", "read-only", "closed", "missing")
    )
    ours, others = new_topic("ours"), new_topic("others")
    await create_topics(secured.bootstrap_servers, {open_one: 3, read_only: 1, closed: 1})
    await secured.allow(TOPIC, open_one, *Operation)
    await secured.allow(TOPIC, read_only, Operation.READ)
    await secured.allow(TOPIC, missing, Operation.DESCRIBE)
    await secured.allow(GROUP, ours, Operation.READ)
    await secured.allow(GROUP, others, Operation.DESCRIBE)
    login = KafkaConnection((f"{NAME}:{secured.login}",), "test", 9.0, LOGIN)
    async with Permissions(login) as permissions:
        found = await permissions.topics([open_one, read_only, closed, missing])
        assert found[open_one].allowed == frozenset(Operation) and found[open_one].partitions == 3
        assert found[read_only].allowed == frozenset({Operation.READ, Operation.DESCRIBE})
        assert found[closed].error == HIDDEN
        assert found[missing].error == "UnknownTopicOrPartitionError"
        assert (await permissions.group(ours))[1] == frozenset(Operation) - {Operation.WRITE}
        assert (await permissions.group(others))[1] == frozenset({Operation.DESCRIBE})
        # Asking has made nothing.
        found = await permissions.topics([missing])
        assert found[missing].error == "UnknownTopicOrPartitionError"
