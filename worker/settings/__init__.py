"""The configuration: its schema, and how it is put together from file, environment, secret files
and flags.
"""
