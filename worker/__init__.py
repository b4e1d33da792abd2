"""The AppMetrica offline-event worker: from Kafka to the Post API, nothing lost."""

__version__ = "0.1.0"
