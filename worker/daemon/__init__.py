"""The process: start, stop, and carrying out what the core decides."""
