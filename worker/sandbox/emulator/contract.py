"""What the Post API accepts, written independently from its documentation.

The columns of each resource, and the values of a cell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address

_DEVICE = (
    "session_type ios_ifa ios_ifv google_aid windows_aid os_name os_version device_manufacturer "
    "device_model device_type "
    "device_locale app_version_name app_package_name connection_type operator_name mcc mnc "
    "device_ipv6"
).split()

_CATEGORIES = [f"product_category_path_{number}" for number in range(1, 11)]
_SCREENS = [f"screen_category_path_{number}" for number in range(1, 11)]

IDENTITIES = ("profile_id", "appmetrica_device_id")

# A star marks a required column.
_TABLES = {
    "events": ["application_id*", "event_name*", "event_timestamp*", "event_json", *_DEVICE],
    "revenue": [
        *(
            "application_id* revenue_event_type* event_timestamp* price* currency* product_id* "
            "quantity payload"
        ).split(),
        *("transaction_id", "order_id", "account_id", *_DEVICE),
    ],
    "adrevenue": [
        *(
            "application_id* event_timestamp* revenue* currency* ad_type* ad_network ad_unit_id "
            "ad_unit_name"
        ).split(),
        *("ad_placement_id", "ad_placement_name", "precision", "payload", *_DEVICE),
    ],
    "ecommerce": [
        *(
            "application_id* event_timestamp* ecom_event_type* order_id* product_name* "
            "cart_item_quantity*"
        ).split(),
        *"cart_item_price_currency cart_item_price_value cart_item_price_internal_currency".split(),
        *(
            "cart_item_price_internal_value actual_price_currency actual_price_value "
            "actual_price_internal_currency"
        ).split(),
        *("actual_price_internal_value", "payload", *_CATEGORIES),
        *"original_price_currency* original_price_value* original_price_internal_currency".split(),
        *"original_price_internal_value product_payload product_promo_codes product_sku".split(),
        *(*_SCREENS, "screen_name", "screen_payload", *_DEVICE),
    ],
    "profiles": ["application_id*", "attributes*"],
}


@dataclass(frozen=True, slots=True)
class Contract:
    """A resource: its columns, with the identity pair, and its required columns."""

    resource: str
    columns: frozenset[str]
    required: tuple[str, ...]


# The columns of all resources.
COLUMNS = frozenset(name.rstrip("*") for names in _TABLES.values() for name in names) | set(
    IDENTITIES
)

CONTRACTS = {
    resource: Contract(
        resource,
        frozenset(name.rstrip("*") for name in names) | set(IDENTITIES),
        tuple(name.rstrip("*") for name in names if name.endswith("*")),
    )
    for resource, names in _TABLES.items()
}

# ASCII digits only: Python's own int() and \d take those of every script.
_UNSIGNED = re.compile(r"[0-9]{1,20}")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
# Ten digits before the point; the page says eight after it, and not that more are refused.
_DECIMAL = re.compile(r"-?0*[0-9]{1,10}(\.[0-9]+)?")
# The sample shows no quoting, so white space at an end of an element could be lost.
_ELEMENT = r"[^,\[\]\"\s](?:[^,\[\]\"\r\n]*[^,\[\]\"\s])?"
_ARRAY = re.compile(rf"\[{_ELEMENT}(?:,{_ELEMENT})*\]")


def _is_unsigned_64(text: str) -> bool:
    return _UNSIGNED.fullmatch(text) is not None and int(text) < 2**64


def _is_device_id(text: str) -> bool:
    """A hash of 64 bits; 0 is what an empty variable holds."""
    return _is_unsigned_64(text) and int(text) > 0


def _is_integer(text: str) -> bool:
    """An integer of 64 bits, signed or unsigned: the pages state no other bound."""
    return _INTEGER.fullmatch(text) is not None and -(2**63) <= int(text) < 2**64


def _is_decimal(text: str) -> bool:
    return _DECIMAL.fullmatch(text) is not None


def _refuse_constant(name: str) -> str:
    raise ValueError(f"{name} is not JSON")


# Only the syntax counts: numbers stay text, and a name may be repeated. Created once, because
# json.loads with arguments creates a decoder for each call.
_JSON = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse_constant)


def _is_object(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        _JSON.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def _is_array(text: str) -> bool:
    """`[a,b]` without quotes: an element can't contain a separator."""
    return text == "[]" or _ARRAY.fullmatch(text) is not None


def _has_attribute_values(text: str) -> bool:
    """An object of strings, numbers and booleans; the decoder leaves numbers as text."""
    if not _is_object(text):
        return False
    return all(isinstance(value, str | bool) for value in _JSON.decode(text).values())


_Check = tuple[Callable[[str], bool], str]

_CHECKS: dict[str, _Check] = {
    "application_id": (_is_unsigned_64, "an integer"),
    "appmetrica_device_id": (_is_device_id, "a device id"),
    **dict.fromkeys(("quantity", "mcc", "mnc"), (_is_integer, "an integer")),
    **dict.fromkeys(
        (
            *(
                "price revenue cart_item_quantity cart_item_price_value "
                "cart_item_price_internal_value actual_price_value"
            ).split(),
            *(
                "actual_price_internal_value original_price_value original_price_internal_value"
            ).split(),
        ),
        (_is_decimal, "a decimal number"),
    ),
    **dict.fromkeys(
        ("event_json", "payload", "product_payload", "screen_payload"),
        (_is_object, "a JSON object"),
    ),
    "attributes": (_has_attribute_values, "a JSON object of strings, numbers and booleans"),
    "event_timestamp": (_is_unsigned_64, "Unix time in seconds"),
    "device_ipv6": (_is_ipv6, "an IPv6 address"),
    "session_type": (lambda text: text in ("foreground", "background"), "foreground or background"),
    "product_promo_codes": (_is_array, "an array"),
}


def fault_of_header(contract: Contract, columns: list[str]) -> str | None:
    """The fault of a header row; None if it is valid."""
    unknown = [name for name in columns if name not in contract.columns]
    if unknown:
        return f"unknown column {unknown[0]!r}"
    twice = [name for index, name in enumerate(columns) if name in columns[:index]]
    if twice:
        return f"column {twice[0]} is repeated"
    missing = [name for name in contract.required if name not in columns]
    return f"required column {missing[0]} is missing" if missing else None


def fault_of_row(
    contract: Contract, row: dict[str, str], *, oldest: int, latest: int
) -> str | None:
    """The fault of a row; None if it is valid.

    `oldest` and `latest` bound the event's time, in Unix seconds.
    """
    for name in contract.required:
        if not row[name]:
            return f"required {name} is empty"
    present = [name for name in IDENTITIES if row.get(name)]
    if len(present) != 1:
        return f"exactly one of {' and '.join(IDENTITIES)} is accepted, found {len(present)}"
    for name, text in row.items():
        if text and name in _CHECKS:
            is_right, expected = _CHECKS[name]
            if not is_right(text):
                return f"{name} is not {expected}: {text[:40]!r}"
    if "event_timestamp" in row and not oldest <= int(row["event_timestamp"]) <= latest:
        return f"event_timestamp {row['event_timestamp']} is not between {oldest} and {latest}"
    return None
