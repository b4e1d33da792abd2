"""Which topics can't be written now, and why: what comes from them can't be sent back, and waits
until it can.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiokafka.errors import UnknownTopicOrPartitionError

from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.topics import Operation, Permissions

# Source: org.apache.kafka.common.internals.Topic.
TOPIC_NAME = re.compile("[a-zA-Z0-9._-]{1,249}")
NAME_CHARACTERS_SHOWN = 100


async def why_closed(connection: KafkaConnection, topics: Sequence[str]) -> dict[str, str]:
    """Those of the topics that can't be written, each with the reason.

    Raises:
        aiokafka.errors.KafkaError: the brokers can't be asked.
    """
    # Anybody may write a header, and a name that is none can't even be asked for.
    nameless = [topic for topic in topics if TOPIC_NAME.fullmatch(topic) is None]
    closed = {topic: f"topic {topic[:NAME_CHARACTERS_SHOWN]} is gone" for topic in nameless}
    async with Permissions(connection) as permissions:
        found = await permissions.topics([topic for topic in topics if topic not in closed])
    for topic, access in found.items():
        if access.error == UnknownTopicOrPartitionError.__name__:
            closed[topic] = f"topic {topic} is gone"
        elif access.error is not None:
            closed[topic] = f"topic {topic} can't be used: {access.error}"
        elif access.allowed is not None and Operation.WRITE not in access.allowed:
            closed[topic] = f"the right WRITE for topic {topic} is missing"
    return closed
