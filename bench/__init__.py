"""Measurements on real Kafka. Not tests: nothing here is asserted."""
