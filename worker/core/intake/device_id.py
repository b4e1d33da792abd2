"""Advice about invalid device ids: the cause, and the function that the producer has to call.

AppMetrica's device id is the hash of the device, an unsigned integer of 64 bits. Languages without
such a type write it as a signed integer, and some producers send other ids of the device instead.
"""

from __future__ import annotations

import re

from worker.core.intake.faults import found
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import Column

_UNSIGNED_64 = 2**64
_NEGATIVE = re.compile(r"-[0-9]{1,19}")
_HEXADECIMAL = re.compile(r"(?:0[xX])?[0-9a-fA-F]{1,16}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_FLOAT_EXACT_MAX = 2**53


def advice(value: object) -> str:
    """What to do about a device id that isn't an unsigned integer; empty for an unknown form."""
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if text and not text.strip("0"):
        return "0 is not the id of a device; leave the field out and send profile_id"
    if _NEGATIVE.fullmatch(text) is not None and int(text) >= -(2**63):
        return (
            f"a signed integer; the same id unsigned is {int(text) + _UNSIGNED_64}. "
            "Java: Long.toUnsignedString(id); C#: unchecked((ulong)id); Go: uint64(id); "
            "PHP: sprintf('%u', $id)"
        )
    if _UUID.fullmatch(text) is not None:
        return (
            "a UUID is another id of the device; the SDK gives the hash: requestStartupParams with "
            "appmetrica_device_id_hash"
        )
    if _HEXADECIMAL.fullmatch(text) is not None and not text.isdigit():
        return (
            f"a hexadecimal number; in decimal digits it is {int(text, 16)}. "
            "Java: Long.toUnsignedString(Long.parseUnsignedLong(hex, 16)); "
            "C#: Convert.ToUInt64(hex, 16); Python: int(hex, 16)"
        )
    return ""


def inexact_device_id(column: Column, number: int, text: str) -> FieldFault | None:
    """The fault of a device id that has been a float of more than 53 bits: its digits are lost."""
    if abs(number) <= _FLOAT_EXACT_MAX:
        return None
    shown = found(text)
    message = (
        f"found {shown}, a float, which has lost digits of the id; send the digits as a string"
    )
    return FieldFault(Reason.OUT_OF_RANGE, column.name, message, column.kind.value, shown)
