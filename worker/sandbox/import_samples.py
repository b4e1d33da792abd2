"""Samples of the other resources: revenue, ad revenue, e-commerce and profiles, in envelopes.

Each holds its number in the column for details, which identifies it among the delivered rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import orjson

# The column of each resource that holds the number of a sample.
DETAILS = {
    "events": "event_json",
    "revenue": "payload",
    "adrevenue": "payload",
    "ecommerce": "payload",
    "profiles": "attributes",
}

# The field of an import that holds its time, in milliseconds.
IMPORT_TIME = "at"

Details = dict[str, Any]
PROFILES = 20


def envelope(chance: random.Random, common: Details, number: int) -> Details:
    """A record `{"type": resource, "data": event}`.

    `common` holds the fields of every resource, with the identity.
    """
    resource, make = chance.choice(_MAKERS)
    event = make(chance, common, number)
    event[DETAILS[resource]] = event.get(DETAILS[resource], {}) | {"event_number": number}
    return {"type": resource, "data": event}


# The types that the demo selects. "purchases" is a producer's mistake, and must not be skipped.
SELECTED_TYPES = ("revenue", "adrevenue", "ecommerce", "profiles", "purchases")


def unselected(common: Details) -> Details:
    """A record of a type that isn't for AppMetrica."""
    return {"type": "stock_changed", "data": common}


def wrong_sample(chance: random.Random, wrapped: Details, now: int) -> tuple[Details, str]:
    """The record with a mistake, and the reason of its dead letter."""
    reason, spoil = chance.choice(_MISTAKES)
    return spoil(wrapped, now), reason


def _revenue(chance: random.Random, common: Details, number: int) -> Details:
    return common | {
        "revenue_event_type": chance.choice(
            ("one_time_purchase", "subscription_renewed", "refund")
        ),
        # Exact as text and as a number; a float is not exact.
        "price": "299.90" if number % 2 else orjson.Fragment(b"0.50"),
        "currency": "RUB",
        "product_id": f"com.example.film.{chance.randrange(100)}",
        "quantity": chance.randrange(1, 4),
        "transaction_id": f"tx-{number}",
    }


def _adrevenue(chance: random.Random, common: Details, number: int) -> Details:
    return common | {
        "revenue": orjson.Fragment(b"0.%04d" % chance.randrange(1, 10_000)),
        "currency": "USD",
        "ad_type": chance.choice(("banner", "rewarded", "interstitial")),
        "ad_unit_name": 'start screen, "top"',
        "precision": "estimated",
    }


def _ecommerce(chance: random.Random, common: Details, number: int) -> Details:
    return common | {
        "ecom_event_type": chance.choice(("SHOW_PRODUCT_CARD", "ADD_TO_CART", "PURCHASE")),
        "order_id": f"order-{number}",
        "product_name": "Ирония судьбы",
        "cart_item_quantity": chance.randrange(1, 4),
        "product_category_path_1": "films",
        "product_category_path_2": "comedies",
        "original_price_currency": "RUB",
        "original_price_value": "1.05",
        "product_promo_codes": ["promo_code_1", "promo_code_2"],
    }


def _profile(chance: random.Random, common: Details, number: int) -> Details:
    # Few profiles with many updates: their order shows.
    return {
        "application_id": common["application_id"],
        "profile_id": f"viewer-{number % PROFILES}",
        "attributes": {
            "loyalty": chance.choice(("gold", "silver")),
            "subscribed": True,
            "visits": 1,
        },
    }


_MAKERS: tuple[tuple[str, Callable[[random.Random, Details, int], Details]], ...] = (
    ("revenue", _revenue),
    ("adrevenue", _adrevenue),
    ("ecommerce", _ecommerce),
    ("profiles", _profile),
)


def _with_data(wrapped: Details, **changes: object) -> Details:
    return wrapped | {"data": wrapped["data"] | changes}


_MISTAKES: tuple[tuple[str, Callable[[Details, int], Details]], ...] = (
    ("unknown_route", lambda wrapped, _: wrapped | {"type": "purchases"}),
    ("unknown_field", lambda wrapped, _: wrapped | {"version": 1}),
    ("unknown_field", lambda wrapped, _: _with_data(wrapped, curency="RUB")),
    ("not_an_object", lambda wrapped, _: wrapped | {"data": [wrapped["data"]]}),
    ("missing", lambda wrapped, _: {"type": wrapped["type"]}),
    ("wrong_type", lambda wrapped, _: _with_data(wrapped, application_id=1111.5)),
)
