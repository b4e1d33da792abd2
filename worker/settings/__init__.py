"""The configuration: its schema, and how it is loaded from file, environment, secrets and flags."""
