"""Authorized operations, as brokers with an authorizer report them.

Nothing is tried out, and the question creates nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from tests.source_reader import connection
from worker.edges.kafka.topics import Operation, Permissions
from worker.sandbox.kafka import ClusterOptions, KafkaCluster
from worker.sandbox.topics import create_topics, started

AUTHORIZER = (
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("allow.everyone.if.no.acl.found", "true"),
)
TOPIC, GROUP, LITERAL, ALLOW, DENY = 2, 3, 3, 3, 2


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A broker of its own: an authorizer can't be switched on later."""
    with KafkaCluster(ClusterOptions(heap="256m", properties=AUTHORIZER)) as kafka:
        yield kafka.bootstrap_servers


async def _rule(
    bootstrap_servers: str, resource: int, name: str, operation: Operation, permission: int
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    async with started(admin):
        rule = (resource, name, LITERAL, "User:ANONYMOUS", "*", operation.value, permission)
        answer = cast(Any, await admin._send_to_controller(CreateAclsRequest(*rule)))
    assert [one[0] for one in answer.creation_responses] == [0], answer


async def test_brokers_report_what_is_allowed_and_what_is_not_there(guarded: str) -> None:
    await create_topics(guarded, {"open": 3, "read-only": 1, "closed": 1})
    await _rule(guarded, TOPIC, "read-only", Operation.READ, ALLOW)
    await _rule(guarded, TOPIC, "closed", Operation.DESCRIBE, DENY)
    await _rule(guarded, GROUP, "others", Operation.DESCRIBE, ALLOW)
    async with Permissions(connection(guarded)) as permissions:
        found = await permissions.topics(["open", "read-only", "closed", "missing"])
        assert found["open"].allowed == frozenset(Operation) and found["open"].partitions == 3
        assert found["read-only"].allowed == frozenset({Operation.READ, Operation.DESCRIBE})
        assert found["closed"].error == "TopicAuthorizationFailedError"
        assert found["missing"].error == "UnknownTopicOrPartitionError"
        assert (await permissions.group("ours"))[1] == frozenset(Operation) - {Operation.WRITE}
        assert (await permissions.group("others"))[1] == frozenset({Operation.DESCRIBE})
        # Asking has made nothing.
        assert (await permissions.topics(["missing"]))[
            "missing"
        ].error == "UnknownTopicOrPartitionError"
