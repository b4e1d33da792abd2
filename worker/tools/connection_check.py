"""Checks that what the configuration names is there and may be used: brokers, topics, permissions,
the API.

It joins no group, writes no record and sends no event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from aiokafka.errors import BrokerResponseError, KafkaError

from worker.daemon.assembly import CLIENT_ID
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.coordinator import GroupDescription
from worker.edges.kafka.diagnosis import diagnose
from worker.edges.kafka.membership import ASSIGNOR
from worker.edges.kafka.reader import TopicReader
from worker.edges.kafka.topics import Operation, Permissions, TopicAccess
from worker.edges.post_api.reachability import NotReached, probe
from worker.settings.routing import ResolvedRoute
from worker.settings.schema import Settings


class CheckResult(StrEnum):
    """How a check ended. A warning is what the worker can live with."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    what: str
    standing: CheckResult
    detail: str


async def check_connections(settings: Settings, connection: KafkaConnection) -> list[Finding]:
    """All findings; those that need what isn't there are left out."""
    return [*await _kafka(settings, connection), await _api(settings)]


async def _kafka(settings: Settings, connection: KafkaConnection) -> list[Finding]:
    try:
        async with TopicReader(connection) as reader:
            brokers = await reader.brokers()
        async with Permissions(connection) as permissions:
            routes = settings.resolved_routes()
            wanted = {topic for route in routes for topic in (route.topic, route.dead_letter.topic)}
            topics = await permissions.topics(sorted(wanted))
            return [
                Finding("brokers", CheckResult.OK, ", ".join(brokers)),
                *judge_topics(routes, topics, len(settings.appmetrica.applications)),
                await _group(permissions, settings.kafka.group_id),
            ]
    except (KafkaError, TimeoutError, OSError) as error:
        faults = await diagnose(connection)
        if not faults or isinstance(error, BrokerResponseError):
            return [
                Finding(
                    "brokers", CheckResult.FAULT, f"{type(error).__name__}: {error}".rstrip(": ")
                )
            ]
        return [
            Finding(f"broker {fault.server}", CheckResult.FAULT, fault.detail) for fault in faults
        ]


async def _group(permissions: Permissions, group_id: str) -> Finding:
    what = f"group {group_id}"
    try:
        description, allowed = await permissions.group(group_id)
    except KafkaError as error:
        return Finding(what, CheckResult.FAULT, f"{type(error).__name__}: {error}")
    return judge_group(what, description, allowed)


def judge_group(
    what: str, description: GroupDescription, allowed: frozenset[Operation] | None
) -> Finding:
    """What is to be said of the worker's group."""
    if description.is_of_another_program(ASSIGNOR):
        detail = f"held by another program, the worker can't join: {description.members_text()}"
        return Finding(
            what, CheckResult.FAULT, f"{detail}; stop it, or choose another kafka.group_id"
        )
    found = _may(what, allowed, (Operation.READ, Operation.DESCRIBE), "the worker may join it")
    strangers = [one for one in description.members if not one.client_id.startswith(CLIENT_ID)]
    if found.standing is CheckResult.OK and strangers:
        detail = (
            f"{found.detail}; other programs are members and may take partitions: "
            f"{description.members_text()}"
        )
        return Finding(what, CheckResult.WARNING, detail)
    return found


async def _api(settings: Settings) -> Finding:
    api = settings.appmetrica
    base_url = str(api.base_url)
    answer = await probe(base_url, api.connect_timeout_seconds, trusts_environment=api.trust_env)
    if isinstance(answer, NotReached):
        return Finding(f"API {base_url}", CheckResult.FAULT, answer.detail)
    detail = (
        f"answers (HTTP {answer.status} after {answer.seconds * 1000:.0f} ms); keys can't "
        "be checked without sending an event"
    )
    return Finding(f"API {base_url}", CheckResult.OK, detail)


def judge_topics(
    routes: Iterable[ResolvedRoute], topics: Mapping[str, TopicAccess], applications: int
) -> list[Finding]:
    """What is to be said of the topics of these routes, with so many applications."""
    findings: dict[str, Finding] = {}
    for route in routes:
        if route.parked_from is None:
            findings[f"topic {route.topic}"] = _topic(route.topic, topics, (Operation.READ,))
        else:
            findings[f"parking topic {route.topic}"] = _parking(route, topics, applications)
        # Read: after a restart its tail tells what must not count as delivered.
        name = route.dead_letter.topic
        findings[f"dead-letter topic {name}"] = _topic(
            name, topics, (Operation.WRITE, Operation.READ), "dead-letter topic "
        )
    return list(findings.values())


def _parking(route: ResolvedRoute, topics: Mapping[str, TopicAccess], applications: int) -> Finding:
    found = _topic(route.topic, topics, (Operation.READ, Operation.WRITE), "parking topic ")
    if found.standing is CheckResult.OK and topics[route.topic].partitions < applications:
        detail = (
            f"{found.detail}; some of {applications} applications share a partition and "
            "wait for each other's holds"
        )
        return Finding(found.what, CheckResult.WARNING, detail)
    return found


def _topic(
    name: str,
    topics: Mapping[str, TopicAccess],
    wanted: tuple[Operation, ...],
    kind: str = "topic ",
) -> Finding:
    access = topics[name]
    if access.error is not None:
        missing = {
            "UnknownTopicOrPartitionError": "does not exist",
            "TopicAuthorizationFailedError": "can't be described: grant DESCRIBE to the worker",
        }
        return Finding(kind + name, CheckResult.FAULT, missing.get(access.error, access.error))
    return _may(kind + name, access.allowed, wanted, f"{access.partitions} partitions")


def _may(
    what: str, allowed: frozenset[Operation] | None, wanted: tuple[Operation, ...], detail: str
) -> Finding:
    names = " and ".join(one.name for one in wanted)
    if allowed is None:
        return Finding(
            what, CheckResult.WARNING, f"{detail}; the brokers don't say whether {names} is granted"
        )
    lacking = [one.name for one in wanted if one not in allowed]
    if lacking:
        return Finding(what, CheckResult.FAULT, f"{detail}; {' and '.join(lacking)} is not granted")
    return Finding(what, CheckResult.OK, f"{detail}; {names} allowed")
