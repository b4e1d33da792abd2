// Sends one offline event and waits until Kafka has it.
import { randomUUID } from "node:crypto";
import { Producer, ProduceAcks, stringSerializers } from "@platformatic/kafka";

const producer = new Producer({
  clientId: "tv-app",
  bootstrapBrokers: (process.env.KAFKA_BOOTSTRAP_SERVERS ?? "localhost:9092").split(","),
  serializers: stringSerializers,
  idempotent: true, // nothing written twice by a retry
});

const user = "user-7";
const event = {
  application_id: 1111,
  profile_id: user, // or appmetrica_device_id: as a string, because JavaScript has no integers above 2^53
  event_name: "film_watched",
  event_timestamp: Math.floor(Date.now() / 1000), // seconds
  event_json: { film: "Solaris", minutes: 42 },
};

const sent = await producer.send({
  acks: ProduceAcks.ALL, // nothing lost
  messages: [
    {
      topic: "offline-events",
      key: user, // one user, one partition
      value: JSON.stringify(event),
      headers: { "event-id": randomUUID() }, // made once per event, kept for every retry
    },
  ],
});
for (const { partition, offset } of sent.offsets) console.log(`written to partition ${partition} at offset ${offset}`);
await producer.close();
