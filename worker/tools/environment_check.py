"""Checks the environment: brokers, topics, permissions, the API, memory, the compiled pass.

The checks join no group, write no record and send no event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from aiokafka.errors import BrokerResponseError, GroupAuthorizationFailedError, KafkaError

from worker.core.dedup.key_memory import KEY_BYTES
from worker.core.intake.pass_choice import PassForm
from worker.daemon.assembly import CLIENT_ID
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.coordinator import GroupDescription
from worker.edges.kafka.diagnosis import diagnose
from worker.edges.kafka.membership import ASSIGNOR
from worker.edges.kafka.reader import TopicReader
from worker.edges.kafka.topics import HIDDEN, Operation, Permissions, TopicAccess
from worker.edges.post_api.reachability import NotReached, probe
from worker.settings.routing import ResolvedRoute
from worker.settings.schema import Settings

MEBIBYTE = 1024 * 1024
# The interpreter, the libraries (67 MiB when idle), and what the Kafka clients have fetched beyond
# the eighth of the memory in which no usual record is received.
PROCESS_BYTES = 96 * MEBIBYTE
# What a request takes beside its body while its receiver reads nothing: the chunk that waits in the
# connection's buffer, and the client's objects. Measured with bodies of 0.2 to 8 MiB.
REQUEST_BYTES = 320 * 1024


_OF_GROUP = (Operation.READ, Operation.DESCRIBE)


class CheckResult(StrEnum):
    """The result of a check. The worker runs in spite of a warning."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Check:
    """A subject that was checked, with its result."""

    subject: str
    result: CheckResult
    detail: str


async def check_connections(settings: Settings, connection: KafkaConnection) -> list[Check]:
    """The checks of brokers and API; a check is left out if its subject can't be reached."""
    return [*await _kafka(settings, connection), await _api(settings)]


async def _kafka(settings: Settings, connection: KafkaConnection) -> list[Check]:
    try:
        async with TopicReader(connection) as reader:
            brokers = await reader.brokers()
        async with Permissions(connection) as permissions:
            routes = settings.resolved_routes()
            wanted = {topic for route in routes for topic in (route.topic, route.dead_letter.topic)}
            topics = await permissions.topics(sorted(wanted))
            return [
                Check("brokers", CheckResult.OK, ", ".join(brokers)),
                *check_topics(routes, topics, len(settings.appmetrica.applications)),
                await _group(permissions, settings.kafka.group_id),
            ]
    except (KafkaError, TimeoutError, OSError) as error:
        faults = await diagnose(connection)
        if not faults or isinstance(error, BrokerResponseError):
            return [Check("brokers", CheckResult.FAULT, text_of(error))]
        return [
            Check(f"broker {fault.server}", CheckResult.FAULT, fault.detail) for fault in faults
        ]


async def _group(permissions: Permissions, group_id: str) -> Check:
    subject = f"group {group_id}"
    try:
        description, allowed = await permissions.group(group_id)
    except GroupAuthorizationFailedError:
        detail = f"can't be described: grant {_all_of(_OF_GROUP)} to the worker"
        return Check(subject, CheckResult.FAULT, detail)
    except KafkaError as error:
        return Check(subject, CheckResult.FAULT, text_of(error))
    return check_group(subject, description, allowed)


def check_group(
    subject: str, description: GroupDescription, allowed: frozenset[Operation] | None
) -> Check:
    """The check of the worker's group."""
    if description.is_of_another_program(ASSIGNOR):
        detail = f"used by another program, the worker can't join: {description.members_text()}"
        return Check(
            subject, CheckResult.FAULT, f"{detail}; stop it, or choose another kafka.group_id"
        )
    found = _permission(subject, allowed, _OF_GROUP, "the worker may join it")
    strangers = [one for one in description.members if not one.client_id.startswith(CLIENT_ID)]
    if found.result is CheckResult.OK and strangers:
        detail = (
            f"{found.detail}; other programs are members and may take partitions: "
            f"{description.members_text()}"
        )
        return Check(subject, CheckResult.WARNING, detail)
    return found


async def _api(settings: Settings) -> Check:
    api = settings.appmetrica
    base_url = str(api.base_url)
    answer = await probe(
        base_url,
        api.connect_timeout_seconds,
        trusts_environment=api.trust_env,
        ca_file=api.ssl_ca_file,
    )
    if isinstance(answer, NotReached):
        return Check(f"API {base_url}", CheckResult.FAULT, answer.detail)
    detail = (
        f"answers (HTTP {answer.status} after {answer.seconds * 1000:.0f} ms); keys can't "
        "be checked without sending an event"
    )
    return Check(f"API {base_url}", CheckResult.OK, detail)


def check_topics(
    routes: Iterable[ResolvedRoute], topics: Mapping[str, TopicAccess], applications: int
) -> list[Check]:
    """The checks of these routes' topics. `applications` is the number of applications."""
    checks: dict[str, Check] = {}
    for route in routes:
        if route.parked_from is None:
            checks[f"topic {route.topic}"] = _topic(route.topic, topics, (Operation.READ,))
        else:
            checks[f"parking topic {route.topic}"] = _parking(route, topics, applications)
        # READ: after a restart its tail names the records that must not count as delivered.
        name = route.dead_letter.topic
        checks[f"dead-letter topic {name}"] = _topic(
            name, topics, (Operation.WRITE, Operation.READ), "dead-letter topic "
        )
    return list(checks.values())


def _parking(route: ResolvedRoute, topics: Mapping[str, TopicAccess], applications: int) -> Check:
    found = _topic(route.topic, topics, (Operation.READ, Operation.WRITE), "parking topic ")
    if found.result is CheckResult.OK and topics[route.topic].partitions < applications:
        detail = (
            f"{found.detail}; some of {applications} applications share a partition and "
            "wait for each other's holds"
        )
        return Check(found.subject, CheckResult.WARNING, detail)
    return found


def _topic(
    name: str,
    topics: Mapping[str, TopicAccess],
    wanted: tuple[Operation, ...],
    kind: str = "topic ",
) -> Check:
    access = topics[name]
    if access.error is not None:
        missing = {
            "UnknownTopicOrPartitionError": "does not exist",
            HIDDEN: f"can't be described: grant {_all_of(wanted)} to the worker",
        }
        return Check(kind + name, CheckResult.FAULT, missing.get(access.error, access.error))
    return _permission(kind + name, access.allowed, wanted, f"{access.partitions} partitions")


def _all_of(wanted: tuple[Operation, ...]) -> str:
    """These operations and DESCRIBE: what brokers don't show may lack each of them."""
    *others, last = dict.fromkeys([*(one.name for one in wanted), "DESCRIBE"])
    return f"{', '.join(others)} and {last}"


def _permission(
    subject: str, allowed: frozenset[Operation] | None, wanted: tuple[Operation, ...], detail: str
) -> Check:
    names = " and ".join(one.name for one in wanted)
    if allowed is None:
        return Check(
            subject,
            CheckResult.WARNING,
            f"{detail}; the brokers don't say whether {names} is granted",
        )
    lacking = [one.name for one in wanted if one not in allowed]
    if lacking:
        return Check(
            subject, CheckResult.FAULT, f"{detail}; {' and '.join(lacking)} is not granted"
        )
    return Check(subject, CheckResult.OK, f"{detail}; {names} allowed")


def memory_needed_bytes(settings: Settings) -> int:
    """The most memory a worker needs: records, requests in flight, remembered keys, the process.

    The helm chart computes the same (`worker.memoryNeeded`). A record batch that expands to
    `kafka.batch_bytes_max` comes on top while its records are taken out.
    """
    return (
        settings.limits.memory_bytes_max
        + _requests_bytes(settings)
        + settings.dedup.window_rows_max * KEY_BYTES
        + PROCESS_BYTES
    )


def _requests_bytes(settings: Settings) -> int:
    """The most memory of the requests in flight, beside their rows."""
    requests = settings.delivery.requests_in_flight_max
    # A body repeats the lines of rows that are held: all bodies together are smaller than the rows.
    bodies = min(requests * _body_bytes_max(settings), settings.limits.memory_bytes_max)
    return bodies + requests * REQUEST_BYTES


def _body_bytes_max(settings: Settings) -> int:
    if settings.delivery.request == "params":
        return settings.delivery.query_bytes_max
    return max(route.batching.body_bytes_max for route in settings.resolved_routes())


def check_memory(settings: Settings, limit_bytes: int | None) -> Check:
    """The check of a container's memory limit; None: it has no limit."""
    needed = memory_needed_bytes(settings)
    if limit_bytes is None:
        return Check(
            "memory",
            CheckResult.OK,
            f"at most {_mebibytes(needed)}; no limit is set for the container",
        )
    detail = f"at most {_mebibytes(needed)}; the container allows {_mebibytes(limit_bytes)}"
    if needed <= limit_bytes:
        return Check("memory", CheckResult.OK, detail)
    parts = (
        f"limits.memory_bytes_max {_mebibytes(settings.limits.memory_bytes_max)}, "
        f"{_mebibytes(_requests_bytes(settings))} for requests "
        f"(delivery.requests_in_flight_max {settings.delivery.requests_in_flight_max}, "
        f"bodies of at most {_mebibytes(_body_bytes_max(settings))}), "
        f"dedup.window_rows_max {settings.dedup.window_rows_max:,} of {KEY_BYTES} B, "
        f"{_mebibytes(PROCESS_BYTES)} for the process"
    )
    advice = (
        "raise the container's limit, or lower these settings; otherwise a long outage may "
        "get the worker killed"
    )
    return Check("memory", CheckResult.WARNING, f"{detail} ({parts}): {advice}")


def check_fast_pass(form: PassForm, directory: Path) -> Check:
    """Return the check of the intake's compiled pass: present and not used is a warning.

    Args:
        form: the form that runs.
        directory: of the intake's modules.
    """
    subject = "fast pass"
    files = sorted(
        path.name for path in directory.glob("compiled_pass.*") if path.suffix in (".so", ".pyd")
    )
    if form is PassForm.COMPILED or not files:
        return Check(subject, CheckResult.OK, form)
    return Check(
        subject,
        CheckResult.WARNING,
        f"{', '.join(files)} in {directory} can't be loaded by this interpreter, which needs "
        f"compiled_pass{EXTENSION_SUFFIXES[0]}: the intake runs in Python and takes twice the CPU",
    )


def _mebibytes(count: int) -> str:
    return f"{count / MEBIBYTE:,.0f} MiB"
