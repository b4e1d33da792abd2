"""What the command line does around the worker: inspect topics, try out records, replay."""
