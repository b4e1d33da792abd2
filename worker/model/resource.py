"""The tables of the Post API: which columns a resource has, in which order, of which kind.

One table per resource is the single source of what the validator demands and of what the CSV header says.

Source: the Post API's documentation pages, one per resource (`/logs/v1/import/<resource>`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Identity(StrEnum):
    """The two ways to name a user. The API accepts only one of them per row."""

    PROFILE_ID = "profile_id"
    DEVICE_ID = "appmetrica_device_id"

    # Enum's own hash is a Python function, 0.2 µs each time a row looks for its batch; str's is computed once.
    __hash__ = str.__hash__


class Kind(Enum):
    """What a column holds, and so how it is checked."""

    STRING = "a string"
    INTEGER = "an integer"
    TIMESTAMP = "Unix time in seconds"
    JSON_OBJECT = "a JSON object"
    SESSION_TYPE = "foreground or background"
    IPV6 = "an IPv6 address"


@dataclass(frozen=True, slots=True)
class Column:
    """One parameter of a resource. `minimum` and `maximum` bound an integer, both inclusive."""

    name: str
    kind: Kind
    required: bool = False
    minimum: int = 0
    maximum: int = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of import. `columns` holds every column but the identity pair, in the order of the documentation.

    The identity column stands second, right after `application_id`.
    """

    name: str
    columns: tuple[Column, ...]

    def header(self, identity: Identity) -> tuple[str, ...]:
        """The column names of a body whose rows name their users by `identity`, in order."""
        names = [column.name for column in self.columns]
        return (names[0], identity.value, *names[1:])


def _strings(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, Kind.STRING) for name in names)


APPLICATION_ID = Column("application_id", Kind.INTEGER, required=True, minimum=1, maximum=2**63 - 1)

# The pair stands apart from the tables: a row fills exactly one of the two, and which one decides the batch.
IDENTITY_COLUMNS = {
    Identity.PROFILE_ID: Column("profile_id", Kind.STRING),
    Identity.DEVICE_ID: Column("appmetrica_device_id", Kind.INTEGER),
}

DEVICE_BLOCK = (
    Column("session_type", Kind.SESSION_TYPE),
    *_strings(
        "ios_ifa",
        "ios_ifv",
        "google_aid",
        "windows_aid",
        "os_name",
        "os_version",
        "device_manufacturer",
        "device_model",
        "device_type",
        "device_locale",
        "app_version_name",
        "app_package_name",
        "connection_type",
        "operator_name",
    ),
    # Three digits at most: ITU-T E.212.
    Column("mcc", Kind.INTEGER, maximum=999),
    Column("mnc", Kind.INTEGER, maximum=999),
    Column("device_ipv6", Kind.IPV6),
)

EVENTS = Resource(
    name="events",
    columns=(
        APPLICATION_ID,
        Column("event_name", Kind.STRING, required=True),
        Column("event_timestamp", Kind.TIMESTAMP, required=True),
        Column("event_json", Kind.JSON_OBJECT),
        *DEVICE_BLOCK,
    ),
)

RESOURCES = {resource.name: resource for resource in (EVENTS,)}
