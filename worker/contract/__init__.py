"""The contract with producers: JSON Schemas, an AsyncAPI document, tables of fields.

All of it is made from the resources' tables, so it can't differ from what the intake accepts.
"""
