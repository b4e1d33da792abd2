import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends one offline event and waits until Kafka has it. */
public final class Producer {
    public static void main(String[] arguments) throws Exception {
        var settings = new Properties();
        settings.put(
                ProducerConfig.BOOTSTRAP_SERVERS_CONFIG,
                System.getenv().getOrDefault("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"));
        // And so acks=all: nothing lost, nothing written twice by a retry.
        settings.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
        // Gathers records into batches.
        settings.put(ProducerConfig.LINGER_MS_CONFIG, 20);

        var user = "user-7";
        var event = new LinkedHashMap<String, Object>();
        event.put("application_id", 1111);
        event.put("profile_id", user);
        event.put("event_name", "film_watched");
        event.put("event_timestamp", Instant.now().getEpochSecond()); // seconds
        event.put("event_json", Map.of("film", "Solaris", "minutes", 42));

        // One user, one partition: the user is the key.
        var record =
                new ProducerRecord<>("offline-events", user, new ObjectMapper().writeValueAsBytes(event));
        // Made once per event, kept for every retry.
        var id = UUID.randomUUID().toString();
        record.headers().add("event-id", id.getBytes(StandardCharsets.UTF_8));

        try (var producer =
                new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
            var sent = producer.send(record).get();
            System.out.printf("written to partition %d at offset %d%n", sent.partition(), sent.offset());
        }
    }
}
