"""Every private name of aiokafka that the project touches.

And every request that it defines itself, because aiokafka has none or an older version.
"""
