"""Replays each fault of the runbook, runs the commands of its section, and applies the fix."""
