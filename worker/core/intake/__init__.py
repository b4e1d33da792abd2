"""From a Kafka record to a row with its CSV line, or to a rejection that names every fault."""
