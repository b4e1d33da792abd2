"""From a Kafka record to a row with its line, or to a rejection with every fault."""
