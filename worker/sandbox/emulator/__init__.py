"""A strict Post API on loopback: what the real one would refuse is refused, what it would keep is
in a ledger.

Shares no code with the worker, so that a mistake there can't hide here.
"""
