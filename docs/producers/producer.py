"""Send one offline event and wait until Kafka has it. Needs: pip install aiokafka."""

import asyncio
import json
import os
import time
import uuid

from aiokafka import AIOKafkaProducer


async def main() -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
        enable_idempotence=True,  # and so acks=all: nothing lost, nothing written twice by a retry
        linger_ms=20,  # gathers records into batches
    )
    user = "user-7"
    event = {
        "application_id": 1111,
        "profile_id": user,
        "event_name": "film_watched",
        "event_timestamp": int(time.time()),  # seconds
        "event_json": {"film": "Solaris", "minutes": 42},
    }
    await producer.start()
    try:
        sent = await producer.send_and_wait(
            "offline-events",
            key=user.encode(),  # one user, one partition
            value=json.dumps(event, ensure_ascii=False).encode(),
            # The id is created once per event, and kept for every retry.
            headers=[("event-id", str(uuid.uuid4()).encode())],
        )
        print(f"written to partition {sent.partition} at offset {sent.offset}")
    finally:
        await producer.stop()  # sends what is left


if __name__ == "__main__":
    asyncio.run(main())
