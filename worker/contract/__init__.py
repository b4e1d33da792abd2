"""The contract with producers, for machines and for people: JSON Schemas, an AsyncAPI document,
tables of fields.

All of it is made from the resources' tables, so that it can't say anything else than the intake
does.
"""
