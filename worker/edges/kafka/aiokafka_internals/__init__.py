"""Every private name of aiokafka that the project touches, and every request that it writes down
itself because aiokafka has none or an older version.
"""
