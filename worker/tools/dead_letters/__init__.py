"""Dead letters and parked records: scan, statistics, export and replay."""
