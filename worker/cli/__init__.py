"""The commands of `appmetrica-worker`."""
