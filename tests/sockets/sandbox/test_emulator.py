"""The emulator over real sockets: what it accepts and refuses, as the documentation says."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import aiohttp
import pytest
from yarl import URL

from tests.sockets.sandbox.posting import KEY, MINIMAL, MINIMAL_HEADER, NOW, post
from worker.sandbox.emulator.contract import CONTRACTS
from worker.sandbox.emulator.server import Emulator, EmulatorOptions

# The sample requests of the API's documentation, their times made recent.
SAMPLE_HEADER = (
    "device_model,device_ipv6,device_type,google_aid,app_package_name,operator_name,mnc,"
    "application_id,event_json,profile_id,event_name,event_timestamp"
)
SAMPLE_ROWS = (
    "iPhone X,2a02:6b8::40c:6676:baff:fea6:53d8,phone,"
    "01234567-890a-bcde-f012-3456789abcde,com.yandex.sample.metrica,"
    f'MegaFon,2,1111,"{{""key"":""value_1""}}",1234567890123456789,event_name_1,{NOW}',
    "iPhone X,2a02:6b8::40c:6676:baff:fea6:53d9,phone,"
    "fedcba98-7654-3210-fedc-ba9876543210,com.yandex.sample.metrica,"
    f'MegaFon,2,1111,"{{""key"":""value_2""}}",9876543210987654321,event_name_2,{NOW}',
)
SAMPLE_PARAMETERS = {
    "device_model": "iPhone X",
    "device_ipv6": "2a02:6b8::40c:6676:baff:fea6:53d8",
    "device_type": "phone",
    "google_aid": "01234567-890a-bcde-f012-3456789abcde",
    "app_package_name": "com.yandex.sample.metrica",
    "operator_name": "MegaFon",
    "mnc": "2",
    "application_id": "1111",
    "event_json": '{"key":"value"}',
    "profile_id": "1234567890123456789",
    "event_name": "event_name",
    "event_timestamp": str(NOW),
}


def with_query(path: str, query: str) -> URL:
    """The path with a query string that goes over the wire as it is."""
    return URL(f"/logs/v1/import/{path}?{query}", encoded=True)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
async def test_the_documented_body_is_accepted(
    emulator: Emulator, client: aiohttp.ClientSession, line_end: str
) -> None:
    status, text = await post(client, line_end.join((SAMPLE_HEADER, *SAMPLE_ROWS, "")))
    assert status == 200, text
    values = [row.as_dict()["values"] for row in emulator.ledger.rows]
    assert [value["event_json"] for value in values] == ['{"key":"value_1"}', '{"key":"value_2"}']  # type: ignore[index]


async def test_the_documented_parameters_are_accepted(
    emulator: Emulator, client: aiohttp.ClientSession
) -> None:
    query = urlencode({"post_api_key": KEY, **SAMPLE_PARAMETERS}, quote_via=quote)
    async with client.post(with_query("events", query)) as response:
        assert response.status == 200, await response.text()
    assert emulator.ledger.rows[0].as_dict()["values"] == SAMPLE_PARAMETERS


async def test_an_absent_optional_value_is_an_empty_cell(
    emulator: Emulator, client: aiohttp.ClientSession
) -> None:
    assert (await post(client, f"{MINIMAL_HEADER},mcc,os_name\n{MINIMAL},,\n"))[0] == 200
    assert set(emulator.ledger.rows[0].as_dict()["values"]) == set(MINIMAL_HEADER.split(","))  # type: ignore[call-overload]


REFUSED_QUERIES: dict[str, tuple[str, str, str]] = {
    "space as plus": (
        "events",
        f"post_api_key={KEY}&device_model=iPhone+X",
        "the query string contains '+'",
    ),
    "not UTF-8": ("events", f"post_api_key={KEY}&device_model=%ff", "is not UTF-8"),
    "no pairs": ("events", f"post_api_key={KEY}&device_model", "not made of name=value pairs"),
    "parameter twice": ("events", f"post_api_key={KEY}&mnc=1&mnc=2", "column mnc is repeated"),
    "parameter beside a body": (
        "events.csv",
        f"post_api_key={KEY}&mnc=1",
        "parameter 'mnc' beside a body",
    ),
}


@pytest.mark.parametrize(("path", "query", "reason"), REFUSED_QUERIES.values(), ids=REFUSED_QUERIES)
async def test_a_query_string_is_taken_literally(
    emulator: Emulator, client: aiohttp.ClientSession, path: str, query: str, reason: str
) -> None:
    async with client.post(with_query(path, query)) as response:
        assert (response.status, reason in await response.text()) == (400, True)
    assert emulator.ledger.rows_total == 0


async def test_a_repeated_key_is_no_key(client: aiohttp.ClientSession) -> None:
    async with client.post(
        with_query("events.csv", f"post_api_key={KEY}&post_api_key={KEY}")
    ) as response:
        assert response.status == 403


async def test_applications_may_share_a_key_but_not_a_request() -> None:
    options = EmulatorOptions(keys={1111: KEY, 2222: KEY})
    async with Emulator(options) as emulator, aiohttp.ClientSession(emulator.base_url) as client:
        for application in (1111, 2222):
            assert (await post(client, f"{MINIMAL_HEADER}\n{application},u,e,{NOW}\n"))[0] == 200
        assert emulator.ledger.summary()["rows_by_application"] == {"1111": 1, "2222": 1}
        status, text = await post(client, f"{MINIMAL_HEADER}\n{MINIMAL}\n2222,u,e,{NOW}\n")
        assert (status, text) == (403, "row 2: application 2222 in a request of 1111\n")


async def test_a_repeated_name_in_event_json_passes_unchanged(
    emulator: Emulator, client: aiohttp.ClientSession
) -> None:
    text = '{"param1":"param2","param1":{"param2":"param3"}}'
    quoted = text.replace('"', '""')
    assert (await post(client, f'{MINIMAL_HEADER},event_json\n{MINIMAL},"{quoted}"\n'))[0] == 200
    assert emulator.ledger.rows[0].cells[-1] == text


REFUSED: dict[str, tuple[str | bytes, str | None, int, str]] = {
    "no key": (f"{MINIMAL_HEADER}\n{MINIMAL}\n", None, 403, "post_api_key"),
    "wrong key": (f"{MINIMAL_HEADER}\n{MINIMAL}\n", "x", 403, "post_api_key"),
    "key of another application": (
        f"{MINIMAL_HEADER}\n{MINIMAL}\n",
        "other",
        403,
        "not of application 1111",
    ),
    "required column missing": (
        f"application_id,profile_id,event_timestamp\n1111,u,{NOW}\n",
        KEY,
        400,
        "event_name",
    ),
    "required cell empty": (f"{MINIMAL_HEADER}\n1111,u,,{NOW}\n", KEY, 400, "event_name is empty"),
    "unknown column": (
        f"{MINIMAL_HEADER},color\n{MINIMAL},red\n",
        KEY,
        400,
        "unknown column 'color'",
    ),
    "column twice": (f"{MINIMAL_HEADER},event_name\n{MINIMAL},e\n", KEY, 400, "is repeated"),
    "both identities": (
        f"{MINIMAL_HEADER},appmetrica_device_id\n{MINIMAL},5\n",
        KEY,
        400,
        "exactly one",
    ),
    "no identity": (
        f"application_id,event_name,event_timestamp\n1111,e,{NOW}\n",
        KEY,
        400,
        "exactly one",
    ),
    "bad number": (f"{MINIMAL_HEADER},mcc\n{MINIMAL},1.5\n", KEY, 400, "mcc is not an integer"),
    "device id above 64 bits": (
        f"application_id,appmetrica_device_id,event_name,event_timestamp\n1111,{2**64},e,{NOW}\n",
        KEY,
        400,
        "appmetrica_device_id",
    ),
    "digits of another script": (f"{MINIMAL_HEADER},mcc\n{MINIMAL},٢٥٠\n", KEY, 400, "mcc"),
    "bad address": (f"{MINIMAL_HEADER},device_ipv6\n{MINIMAL},1.2.3.4\n", KEY, 400, "IPv6"),
    "bad session type": (
        f"{MINIMAL_HEADER},session_type\n{MINIMAL},both\n",
        KEY,
        400,
        "foreground or background",
    ),
    "JSON that is no object": (
        f"{MINIMAL_HEADER},event_json\n{MINIMAL},[1]\n",
        KEY,
        400,
        "event_json",
    ),
    "broken JSON": (
        f'{MINIMAL_HEADER},event_json\n{MINIMAL},"{{""a"":}}"\n',
        KEY,
        400,
        "event_json",
    ),
    "too old": (f"{MINIMAL_HEADER}\n1111,u,e,{NOW - 15 * 86400}\n", KEY, 400, "not between"),
    "milliseconds": (f"{MINIMAL_HEADER}\n1111,u,e,{NOW}000\n", KEY, 400, "not between"),
    "cells without a column": (
        f"{MINIMAL_HEADER}\n{MINIMAL},x\n",
        KEY,
        400,
        "5 cells under 4 columns",
    ),
    "not UTF-8": (MINIMAL_HEADER.encode() + b"\n1111,\xff,e,1\n", KEY, 400, "not UTF-8"),
    "byte order mark": (f"\ufeff{MINIMAL_HEADER}\n{MINIMAL}\n", KEY, 400, "byte order mark"),
    "broken quoting": (f'{MINIMAL_HEADER}\n1111,"u"x,e,{NOW}\n', KEY, 400, "not CSV"),
    "NaN in JSON": (
        f'{MINIMAL_HEADER},event_json\n{MINIMAL},"{{""a"":NaN}}"\n',
        KEY,
        400,
        "event_json",
    ),
    "quote inside a plain cell": (
        f'{MINIMAL_HEADER}\n1111,u"u,e,{NOW}\n',
        KEY,
        400,
        "line 2: not CSV",
    ),
    "carriage return alone": (
        f"{MINIMAL_HEADER}\n{MINIMAL}\r{MINIMAL}\n",
        KEY,
        400,
        "line 2: not CSV",
    ),
    "no rows": (f"{MINIMAL_HEADER}\n", KEY, 400, "no rows"),
    "empty": ("", KEY, 400, "required column"),
    "body over the limit": (
        f"{MINIMAL_HEADER}\n" + f"{MINIMAL}\n" * 300,
        KEY,
        413,
        "larger than 4096",
    ),
    "refused by the plan": (f"{MINIMAL_HEADER}\n1111,u,forbidden,{NOW}\n", KEY, 400, "is refused"),
}


@pytest.mark.parametrize(("body", "key", "status", "reason"), REFUSED.values(), ids=REFUSED)
async def test_what_is_not_in_order_is_refused_whole(
    emulator: Emulator,
    client: aiohttp.ClientSession,
    body: str | bytes,
    key: str | None,
    status: int,
    reason: str,
) -> None:
    answer = await post(client, body, key)
    assert answer[0] == status, answer
    assert reason in answer[1]
    assert emulator.ledger.rows_total == 0


async def test_one_bad_row_refuses_its_neighbours_as_well(
    emulator: Emulator, client: aiohttp.ClientSession
) -> None:
    assert (await post(client, f"{MINIMAL_HEADER}\n{MINIMAL}\n1111,,e,{NOW}\n"))[0] == 400
    assert emulator.ledger.rows_total == 0


async def test_more_rows_than_the_api_takes_are_refused() -> None:
    async with (
        Emulator(EmulatorOptions(keys={1111: KEY})) as emulator,
        aiohttp.ClientSession(emulator.base_url) as client,
    ):
        rows = f"{MINIMAL}\n" * 100_000
        assert (await post(client, f"{MINIMAL_HEADER}\n{rows}"))[0] == 200
        status, text = await post(client, f"{MINIMAL_HEADER}\n{rows}{MINIMAL}\n")
        assert (status, text) == (400, "more than 100000 rows\n")


async def test_unknown_resources_and_paths_are_not_found(client: aiohttp.ClientSession) -> None:
    assert (await post(client, "a\n", path="nonsense.csv"))[0] == 404
    async with client.get("/logs/v1/import/events.csv") as response:
        assert response.status == 405


@pytest.mark.parametrize("resource", CONTRACTS)
def test_every_resource_requires_an_application(resource: str) -> None:
    assert "application_id" in CONTRACTS[resource].required


async def test_an_address_of_ipv6_makes_a_url() -> None:
    async with Emulator(EmulatorOptions(keys={1111: KEY}, host="::1")) as emulator:
        assert emulator.base_url.startswith("http://[::1]:")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{emulator.base_url}/_emulator/ledger") as response,
        ):
            assert response.status == 200
