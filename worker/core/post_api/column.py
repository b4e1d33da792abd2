"""A column of the Post API: its kind, its bounds, whether it is required, its documentation.

`DEVICE_BLOCK` are the columns of the device: the same in every resource but profiles.

Source: the Post API's documentation pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The kind of a column's values: the rule that checks them.

    The enum's value is the text after "expected" in a fault's message.
    """

    STRING = "a string"
    INTEGER = "an integer"
    DEVICE_ID = "an unsigned integer of 64 bits"
    DECIMAL = "a decimal number"
    TIMESTAMP = "Unix time in seconds"
    JSON_OBJECT = "a JSON object"
    ATTRIBUTES = "a JSON object of strings, numbers and booleans"
    ARRAY = "an array of strings"
    SESSION_TYPE = "foreground or background"
    IPV6 = "an IPv6 address"

    # Enum's own hash is a Python function, and the thorough pass asks for it with each column;
    # members are equal to themselves alone.
    __hash__ = object.__hash__


# Kinds whose JSON text is used and not a parsed value: an object is passed on byte for byte, and a
# decimal never becomes a float.
RAW_KINDS = frozenset({Kind.JSON_OBJECT, Kind.ATTRIBUTES, Kind.DECIMAL, Kind.ARRAY})

# Of a decimal's text with its exponent written out. Far above any sum of money; without a bound
# 1e999999999 would fill the memory.
DECIMAL_CHARACTERS_MAX = 100

# "10 digits before the point and 8 after": the page of the Post API doesn't say what happens to
# more. More digits before the point can't be right; more digits after it are what floats write.
DECIMAL_WHOLE_DIGITS_MAX = 10
DECIMAL_FRACTION_DIGITS_MAX = 8

# The API cuts longer payloads.
PAYLOAD_BYTES_MAX = 30 * 1024

# The API states no bounds for most integers: whatever fits into 64 bits, signed or unsigned.
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1

# The API's form of an array has no quoting, so an element can't contain what separates elements.
ARRAY_SEPARATORS = ',[]"'


@dataclass(frozen=True, slots=True)
class Column:
    """One parameter of a resource.

    `minimum` and `maximum` bound an integer, both inclusive. `known` are the values that the
    documentation lists where AppMetrica may add others: other values are delivered and counted.
    `default` is what the API assumes for an absent value. `example` is JSON.
    """

    name: str
    kind: Kind
    description: str
    example: str
    required: bool = False
    minimum: int = INTEGER_MIN
    maximum: int = INTEGER_MAX
    known: tuple[str, ...] = ()
    default: str | None = None


def strings(*rows: tuple[str, str, str]) -> tuple[Column, ...]:
    """Optional text columns, from their names, descriptions and examples."""
    return tuple(
        Column(name, Kind.STRING, description, example) for name, description, example in rows
    )


def decimal(
    name: str, description: str, example: str = '"1.05"', *, required: bool = False
) -> Column:
    """A column of decimal numbers."""
    return Column(name, Kind.DECIMAL, description, example, required=required)


def required_string(
    name: str, description: str, example: str, known: tuple[str, ...] = ()
) -> Column:
    """A required text column."""
    return Column(name, Kind.STRING, description, example, required=True, known=known)


def json_object(name: str, description: str) -> Column:
    """An optional column of JSON objects."""
    return Column(name, Kind.JSON_OBJECT, description, '{"film":"Solaris","minutes":42}')


def category_path(prefix: str, of_what: str) -> tuple[Column, ...]:
    """The ten levels of a category path."""
    return strings(
        *(
            (f"{prefix}_{level}", f"Level {level} of the {of_what}'s category path", '"books"')
            for level in range(1, 11)
        )
    )


def price(prefix: str, of_what: str, *, required: bool = False) -> tuple[Column, ...]:
    """A price in money and in the application's own currency. `required` concerns the money."""
    currency = Column(
        f"{prefix}_currency",
        Kind.STRING,
        f"The currency of the {of_what}",
        '"RUB"',
        required=required,
    )
    return (
        currency,
        decimal(f"{prefix}_value", f"The {of_what}", required=required),
        *strings(
            (
                f"{prefix}_internal_currency",
                f"The application's own currency (such as gems) of the {of_what}",
                '"gems"',
            )
        ),
        decimal(
            f"{prefix}_internal_value", f"The {of_what} in the application's own currency", '"30"'
        ),
    )


DEVICE_BLOCK = (
    Column(
        "session_type",
        Kind.SESSION_TYPE,
        "The kind of session that the event belongs to",
        '"foreground"',
        default="background",
    ),
    *strings(
        (
            "ios_ifa",
            "Apple's advertising identifier (IDFA)",
            '"01234567-890a-bcde-f012-3456789abcde"',
        ),
        (
            "ios_ifv",
            "Apple's identifier for vendors (IDFV)",
            '"01234567-890a-bcde-f012-3456789abcde"',
        ),
        ("google_aid", "Google's advertising identifier", '"01234567-890a-bcde-f012-3456789abcde"'),
        ("windows_aid", "Windows' advertising identifier", '"0123456789abcdef0123456789abcdef"'),
    ),
    Column(
        "os_name",
        Kind.STRING,
        "The operating system",
        '"android"',
        known=("ios", "android", "windows"),
    ),
    *strings(
        ("os_version", "The operating system's version", '"14"'),
        ("device_manufacturer", "Who made the device", '"Samsung"'),
        ("device_model", "The device's model", '"iPhone X"'),
    ),
    Column(
        "device_type",
        Kind.STRING,
        "The kind of device",
        '"phone"',
        known=("phone", "tablet", "unknown"),
    ),
    *strings(
        ("device_locale", "The device's language and region", '"ru_RU"'),
        ("app_version_name", "The application's version", '"4.5.0"'),
        ("app_package_name", "The application's package name", '"com.yandex.sample.metrica"'),
    ),
    Column(
        "connection_type",
        Kind.STRING,
        "How the device was connected",
        '"wifi"',
        known=("wifi", "cell", "unknown"),
    ),
    *strings(("operator_name", "The mobile operator", '"MegaFon"')),
    # The API states no bounds, and phones without a network report 65535 and -1.
    Column("mcc", Kind.INTEGER, "The mobile country code", "250"),
    Column("mnc", Kind.INTEGER, "The mobile network code", "2"),
    Column(
        "device_ipv6",
        Kind.IPV6,
        "The device's IP address; an IPv4 address is sent on as ::ffff:a.b.c.d",
        '"2a02:6b8::40c:6676:baff:fea6:53d8"',
    ),
)
