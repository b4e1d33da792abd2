"""The tables of the Post API: which columns a resource has, in which order, of which kind.

One table per resource is the single source of the validation, of the CSV header and of the
documentation.

Source: the Post API's documentation pages, one per resource (`/logs/v1/import/<resource>`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.core.post_api.column import (
    DEVICE_BLOCK,
    Column,
    Kind,
    category_path,
    decimal,
    json_object,
    price,
    required_string,
    strings,
)


class Identity(StrEnum):
    """The two ways to name a user. The API accepts only one of them per row."""

    PROFILE_ID = "profile_id"
    DEVICE_ID = "appmetrica_device_id"

    # Enum's own hash is a Python function, 0.2 µs each time a row looks for its batch; str's is
    # computed once.
    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of import.

    `columns` are all columns but the identity pair, in the order of the documentation; in a row the
    identity is the second column, right after `application_id`. `name_column` is the column with
    the kind of an event; empty where there is no such column.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    name_column: str

    def header(self, identity: Identity) -> tuple[str, ...]:
        """The column names of a body whose rows name their users by `identity`, in order."""
        names = [column.name for column in self.columns]
        return (names[0], identity.value, *names[1:])

    @property
    def is_dated(self) -> bool:
        """True if its rows have a time of their own, and so can be too old.

        A profile's attributes are valid from now on.
        """
        return any(column.kind is Kind.TIMESTAMP for column in self.columns)

    @property
    def is_state(self) -> bool:
        """True if a row overwrites earlier ones, so that the order of rows matters."""
        return not self.is_dated


APPLICATION_ID = Column(
    "application_id",
    Kind.INTEGER,
    "The application's id in AppMetrica",
    "1111",
    required=True,
    minimum=1,
    maximum=2**63 - 1,
)

# The pair isn't a part of the tables: a row fills exactly one of the two, and its batch depends on
# which.
IDENTITY_COLUMNS = {
    Identity.PROFILE_ID: Column(
        "profile_id",
        Kind.STRING,
        "The user, by the profile id that the application gave to the SDK; a string even where "
        "it looks like a number",
        '"1234567890123456789"',
    ),
    Identity.DEVICE_ID: Column(
        "appmetrica_device_id",
        Kind.DEVICE_ID,
        "The user, by the device's hash in AppMetrica (appmetrica_device_id_hash in the SDK)",
        "18446744073709551615",
        minimum=1,
    ),
}

EVENT_TIMESTAMP = Column(
    "event_timestamp",
    Kind.TIMESTAMP,
    "When it happened, in Unix seconds; at most 14 days ago",
    "1700000000",
    required=True,
    minimum=0,
)


EVENTS = Resource(
    name="events",
    description="Custom events",
    columns=(
        APPLICATION_ID,
        required_string("event_name", "The event's name", '"film_watched"'),
        EVENT_TIMESTAMP,
        json_object("event_json", "The event's parameters, nested if need be"),
        *DEVICE_BLOCK,
    ),
    name_column="event_name",
)

REVENUE = Resource(
    name="revenue",
    description="In-app purchases and subscriptions",
    columns=(
        APPLICATION_ID,
        required_string(
            "revenue_event_type",
            "What happened to the purchase or the subscription",
            '"one_time_purchase"',
            known=(
                "one_time_purchase",
                "trial_started",
                "intro_started",
                "promo_started",
                "subscription_converted",
                "subscription_started",
                "subscription_renewed",
                "cancellation",
                "uncancellation",
                "expired",
                "billing_issues",
                "refund",
            ),
        ),
        EVENT_TIMESTAMP,
        decimal("price", "The price", required=True),
        # Required, although the documentation's table leaves the star off: its format block has
        # both without brackets.
        required_string("currency", "The price's currency, ISO 4217", '"RUB"'),
        required_string("product_id", "The product's id", '"com.yandex.service.299"'),
        Column("quantity", Kind.INTEGER, "How many were bought", "1", default="1"),
        json_object("payload", "Further details"),
        *strings(
            ("transaction_id", "The store's id of the transaction", '"1000000123456789"'),
            ("order_id", "The order's id", '"GPA.1234-5678-9012-34567"'),
            # In the sample request of the API's page, not in its table.
            ("account_id", "The account's id", '"account-1"'),
        ),
        *DEVICE_BLOCK,
    ),
    name_column="revenue_event_type",
)

ADREVENUE = Resource(
    name="adrevenue",
    description="Revenue from advertisements shown",
    columns=(
        APPLICATION_ID,
        EVENT_TIMESTAMP,
        decimal("revenue", "What the impression earned", '"0.0001"', required=True),
        required_string("currency", "The revenue's currency, ISO 4217", '"USD"'),
        required_string(
            "ad_type",
            "The kind of advertisement",
            '"rewarded"',
            known=("native", "banner", "rewarded", "interstitial", "mrec", "other"),
        ),
        *strings(
            ("ad_network", "The advertising network", '"yandex"'),
            ("ad_unit_id", "The ad unit's id", '"unit-1"'),
            ("ad_unit_name", "The ad unit's name", '"start screen"'),
            ("ad_placement_id", "The placement's id", '"placement-1"'),
            ("ad_placement_name", "The placement's name", '"after level 3"'),
        ),
        Column(
            "precision",
            Kind.STRING,
            "Whose figure it is",
            '"estimated"',
            known=("publisher_defined", "estimated"),
        ),
        json_object("payload", "Further details"),
        *DEVICE_BLOCK,
    ),
    name_column="ad_type",
)

ECOMMERCE = Resource(
    name="ecommerce",
    description="What happens in a shop: screens, products, the cart, purchases",
    columns=(
        APPLICATION_ID,
        EVENT_TIMESTAMP,
        required_string(
            "ecom_event_type",
            "What happened",
            '"PURCHASE"',
            known=(
                "SHOW_SCREEN",
                "SHOW_PRODUCT_CARD",
                "SHOW_PRODUCT_DETAILS",
                "ADD_TO_CART",
                "REMOVE_FROM_CART",
                "BEGIN_CHECKOUT",
                "PURCHASE",
            ),
        ),
        required_string("order_id", "The order's id", '"order-1"'),
        required_string("product_name", "The product's name", '"A film"'),
        decimal(
            "cart_item_quantity", "How many, or how much, of the product", '"1"', required=True
        ),
        *price("cart_item_price", "cart item's price"),
        *price("actual_price", "product's price with discounts"),
        json_object("payload", "Further details of the event"),
        *category_path("product_category_path", "product"),
        *price("original_price", "product's price before discounts", required=True),
        json_object("product_payload", "Further details of the product"),
        Column(
            "product_promo_codes",
            Kind.ARRAY,
            "The promo codes used: an array of strings, or text in the API's own form, [a,b]",
            '["promo_code_1","promo_code_2"]',
        ),
        *strings(("product_sku", "The product's stock keeping unit", '"779213"')),
        *category_path("screen_category_path", "screen"),
        *strings(("screen_name", "The screen's name", '"main"')),
        json_object("screen_payload", "Further details of the screen"),
        *DEVICE_BLOCK,
    ),
    name_column="ecom_event_type",
)

PROFILES = Resource(
    name="profiles",
    description="Attributes of user profiles",
    columns=(
        APPLICATION_ID,
        Column(
            "attributes",
            Kind.ATTRIBUTES,
            "The attributes to set: strings, numbers, booleans; a counter is the number to add",
            '{"loyalty":"gold","age":33,"subscribed":true,"visits":1}',
            required=True,
        ),
    ),
    name_column="",
)

RESOURCES = {
    resource.name: resource for resource in (EVENTS, REVENUE, ADREVENUE, ECOMMERCE, PROFILES)
}
