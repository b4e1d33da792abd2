"""What a newcomer runs: the Post API emulator, Apache Kafka, sample events, a demo."""
