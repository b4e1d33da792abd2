"""The columns that tell of the device: the same ones, in the same order, in every resource but
profiles.

Source: the Post API's documentation pages.
"""

from __future__ import annotations

from worker.core.post_api.column import Column, Kind, strings

DEVICE_BLOCK = (
    Column(
        "session_type",
        Kind.SESSION_TYPE,
        "The kind of session that the event belongs to",
        '"foreground"',
        default="background",
    ),
    *strings(
        (
            "ios_ifa",
            "Apple's advertising identifier (IDFA)",
            '"01234567-890a-bcde-f012-3456789abcde"',
        ),
        (
            "ios_ifv",
            "Apple's identifier for vendors (IDFV)",
            '"01234567-890a-bcde-f012-3456789abcde"',
        ),
        ("google_aid", "Google's advertising identifier", '"01234567-890a-bcde-f012-3456789abcde"'),
        ("windows_aid", "Windows' advertising identifier", '"0123456789abcdef0123456789abcdef"'),
    ),
    Column(
        "os_name",
        Kind.STRING,
        "The operating system",
        '"android"',
        known=("ios", "android", "windows"),
    ),
    *strings(
        ("os_version", "The operating system's version", '"14"'),
        ("device_manufacturer", "Who made the device", '"Samsung"'),
        ("device_model", "The device's model", '"iPhone X"'),
    ),
    Column("device_type", Kind.STRING, "The kind of device", '"phone"', known=("phone", "tablet")),
    *strings(
        ("device_locale", "The device's language and region", '"ru_RU"'),
        ("app_version_name", "The application's version", '"4.5.0"'),
        ("app_package_name", "The application's package name", '"com.yandex.sample.metrica"'),
    ),
    Column(
        "connection_type",
        Kind.STRING,
        "How the device was connected",
        '"wifi"',
        known=("wifi", "cell", "unknown"),
    ),
    *strings(("operator_name", "The mobile operator", '"MegaFon"')),
    # Three digits at most: ITU-T E.212.
    Column("mcc", Kind.INTEGER, "The mobile country code", "250", maximum=999),
    Column("mnc", Kind.INTEGER, "The mobile network code", "2", maximum=999),
    Column(
        "device_ipv6",
        Kind.IPV6,
        "The device's IP address; an IPv4 address is sent on as ::ffff:a.b.c.d",
        '"2a02:6b8::40c:6676:baff:fea6:53d8"',
    ),
)
