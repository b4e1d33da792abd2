"""Formats that leave the process: record headers and commit metadata."""
