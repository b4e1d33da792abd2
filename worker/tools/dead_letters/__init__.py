"""Dead letters and parked records: reading, statistics, export, replay."""
