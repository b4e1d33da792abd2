"""What a newcomer runs against: the Post API emulator, Apache Kafka started from packages, sample
events, the demo.
"""
