"""The log lines of the worker, as tables: codes, levels, meanings, fields, and what to do."""
