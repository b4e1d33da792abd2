"""Replays each fault of the runbook, runs the commands that stand there, and applies the fix."""
