"""What the emulator finds wrong with a row of any resource, by its own table."""

from __future__ import annotations

import csv

import pytest

from tests.fixtures import UNIX_SECONDS, fixtures
from worker.sandbox.emulator.contract import CONTRACTS, fault_of_row


def full_row(resource: str) -> dict[str, str]:
    (fixture,) = [one for one in fixtures() if (one.resource, one.name) == (resource, "full")]
    names, cells = csv.reader(fixture.request.decode().splitlines(keepends=True), strict=True)
    return dict(zip(names, cells, strict=True))


def fault(resource: str, **changes: str) -> str | None:
    return fault_of_row(
        CONTRACTS[resource],
        full_row(resource) | changes,
        oldest=UNIX_SECONDS - 100,
        latest=UNIX_SECONDS,
    )


@pytest.mark.parametrize("resource", CONTRACTS)
def test_a_full_row_is_in_order(resource: str) -> None:
    assert fault(resource) is None


@pytest.mark.parametrize("resource", CONTRACTS)
def test_each_required_column_must_be_filled(resource: str) -> None:
    for name in CONTRACTS[resource].required:
        assert fault(resource, **{name: ""}) == f"required {name} is empty"


@pytest.mark.parametrize("resource", CONTRACTS)
def test_both_identities_are_refused(resource: str) -> None:
    assert "exactly one of" in str(fault(resource, profile_id="u", appmetrica_device_id="5"))


REFUSED = {
    "price with an exponent": ("revenue", "price", "1e-4"),
    "price with a comma": ("revenue", "price", "1,05"),
    "price in words": ("revenue", "price", "free"),
    "price without digits behind the point": ("revenue", "price", "1."),
    "price in Arabic digits": ("revenue", "price", "١"),
    "quantity of a plus sign": ("revenue", "quantity", "+1"),
    "quantity of more than 64 bits": ("revenue", "quantity", str(2**64)),
    "payload that is an array": ("revenue", "payload", "[1]"),
    "payload that is cut": ("revenue", "payload", '{"a":'),
    "revenue that is infinite": ("adrevenue", "revenue", "Infinity"),
    "fraction of mcc": ("adrevenue", "mcc", "1.0"),
    "mnc of more than 64 bits": ("adrevenue", "mnc", str(-(2**63) - 1)),
    "price of eleven digits": ("revenue", "price", "10000000000"),
    "an IPv4 address": ("adrevenue", "device_ipv6", "192.0.2.7"),
    "a session type of its own": ("ecommerce", "session_type", "sideways"),
    "promo codes as JSON": ("ecommerce", "product_promo_codes", '["a","b"]'),
    "promo codes without brackets": ("ecommerce", "product_promo_codes", "a,b"),
    "an empty promo code": ("ecommerce", "product_promo_codes", "[a,,b]"),
    "promo codes within promo codes": ("ecommerce", "product_promo_codes", "[a,[b]]"),
    "quantity of an item in words": ("ecommerce", "cart_item_quantity", "two"),
    "internal value in words": ("ecommerce", "original_price_internal_value", "many"),
    "screen payload that is text": ("ecommerce", "screen_payload", "main"),
    "an event of another age": ("ecommerce", "event_timestamp", str(UNIX_SECONDS - 101)),
    "an attribute that is an array": ("profiles", "attributes", '{"a":[1]}'),
    "an attribute that is an object": ("profiles", "attributes", '{"a":{"delta":1}}'),
    "an attribute that is null": ("profiles", "attributes", '{"a":null}'),
    "attributes that are no object": ("profiles", "attributes", '"a"'),
}


def test_a_device_has_an_id_other_than_zero() -> None:
    assert fault("events", profile_id="", appmetrica_device_id="1") is None
    assert "device id" in str(fault("events", profile_id="", appmetrica_device_id="0"))


@pytest.mark.parametrize(("resource", "column", "text"), REFUSED.values(), ids=REFUSED)
def test_what_a_column_cannot_hold_is_refused(resource: str, column: str, text: str) -> None:
    assert str(fault(resource, **{column: text})).startswith(column)


@pytest.mark.parametrize(
    ("resource", "column", "text"),
    [
        ("ecommerce", "product_promo_codes", "[]"),
        ("ecommerce", "product_promo_codes", "[promo code 1]"),
        ("revenue", "price", "-0.50"),
        ("revenue", "revenue_event_type", "something_new"),
        ("revenue", "quantity", "-1"),
        ("revenue", "account_id", "account-1"),
        ("adrevenue", "mcc", "65535"),
        ("adrevenue", "mnc", "-1"),
        ("profiles", "attributes", "{}"),
        ("profiles", "attributes", '{"a":1,"a":-1.5,"b":false,"c":""}'),
    ],
    ids=[
        "no codes",
        "a code with spaces",
        "negative price",
        "unknown type",
        "quantity that is taken back",
        "account of a purchase",
        "mcc of a phone without network",
        "mnc of a phone without network",
        "no attributes",
        "every type of attribute",
    ],
)
def test_what_a_column_can_hold_is_taken(resource: str, column: str, text: str) -> None:
    assert fault(resource, **{column: text}) is None
