"""Send records of all resources, each to its own topic. Needs: pip install aiokafka."""

import asyncio
import json
import os
import time
import uuid

from aiokafka import AIOKafkaProducer

APPLICATION = {"application_id": 1111}
PERSON = {**APPLICATION, "profile_id": "user-7"}
# A user without a profile. Python's integers have all digits; other languages: "Pitfalls".
DEVICE = {**APPLICATION, "appmetrica_device_id": 18446744073709551615}


def records() -> list[tuple[str, dict]]:
    """The topic and the value of each record. Prices are text: a float would lose digits."""
    now = {"event_timestamp": int(time.time())}  # of milliseconds: ms // 1000
    start = {"event_name": "app_started", "event_json": {"tv": True}}
    bought = {"revenue_event_type": "one_time_purchase", "price": "9.90", "currency": "EUR"}
    shown = {"revenue": "0.00042", "currency": "USD", "ad_type": "rewarded"}
    order = {"ecom_event_type": "PURCHASE", "order_id": "order-1", "original_price_currency": "EUR"}
    film = {"product_name": "Film", "original_price_value": "4.95", "cart_item_quantity": 1}
    book = {"product_name": "Book", "original_price_value": "9.90", "cart_item_quantity": 2}
    return [
        ("offline-events", DEVICE | now | start),
        ("purchases", PERSON | now | bought | {"product_id": "film-1", "order_id": "order-1"}),
        ("ad-revenue", DEVICE | now | shown),
        ("shop", PERSON | now | order | film),  # a record per product
        ("shop", PERSON | now | order | book),
        ("profiles", PERSON | {"attributes": {"loyalty": "silver"}}),  # a profile has no time
        ("profiles", PERSON | {"attributes": {"loyalty": "gold"}}),  # and the last one wins
    ]


async def main() -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
        enable_idempotence=True,  # acks=all; a retry changes neither number nor order of records
        linger_ms=20,
    )
    await producer.start()
    try:
        sent = []
        for topic, value in records():
            user = value.get("profile_id") or value["appmetrica_device_id"]
            key, event_id = str(user).encode(), str(uuid.uuid4()).encode()
            body = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
            # Returns when the record is in the producer's buffer: no wait for each record.
            sent.append(await producer.send(topic, body, key, headers=[("event-id", event_id)]))
        for one in await asyncio.gather(*sent):  # raises if Kafka has not taken a record
            print(f"{one.topic}: partition {one.partition}, offset {one.offset}")
    finally:
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(main())
