"""A strict Post API on loopback: it refuses what the API would refuse, and lists what it accepted.

It shares no code with the worker, so that a mistake there can't hide here.
"""
