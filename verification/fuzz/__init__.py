"""Fuzzing the intake: `make fuzz` throws a million values at it, `make test` some thousands.

`checking` checks what must hold of any value, `mutations` makes values from valid records. With
atheris installed (`pip install .[fuzz]`, Linux on x86-64) `make fuzz ARGS=--atheris` lets coverage
of the intake guide the mutations instead.
"""
