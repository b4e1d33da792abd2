"""All that talks to Kafka."""
