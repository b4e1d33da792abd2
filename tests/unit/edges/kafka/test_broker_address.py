"""What a message says of an error."""

from __future__ import annotations

import pytest
from aiokafka.errors import (
    CommitFailedError,
    KafkaConnectionError,
    KafkaTimeoutError,
    NotLeaderForPartitionError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import TlsNotUsableError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KafkaTimeoutError("no answer"), "KafkaTimeoutError: no answer"),
        (KafkaConnectionError(), "KafkaConnectionError"),
        (UnknownTopicOrPartitionError("events"), "UnknownTopicOrPartitionError: events"),
        (
            NotLeaderForPartitionError(),
            f"NotLeaderForPartitionError: {NotLeaderForPartitionError.description}",
        ),
        (TlsNotUsableError("no file"), "TlsNotUsableError: no file"),
        (ConnectionResetError(104, "reset"), "ConnectionResetError: [Errno 104] reset"),
        (TimeoutError(), "TimeoutError"),
        (
            CommitFailedError("increase max_poll_interval_ms"),
            "CommitFailedError: the group has gone on without this worker, which was stopped or "
            "cut off for too long; it joins again",
        ),
        (
            TopicAuthorizationFailedError({"b", "a"}),
            "TopicAuthorizationFailedError: the worker's user lacks a permission on the topic "
            "a, b: `check-config --connect` names it",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_message_has_the_kind_of_an_error_once(error: Exception, text: str) -> None:
    assert text_of(error) == text
