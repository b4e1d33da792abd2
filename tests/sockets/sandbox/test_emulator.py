"""The emulator over real sockets: as strict as the documentation, with every planned fault."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode

import aiohttp
import pytest
from yarl import URL

from worker.sandbox.emulator.contract import CONTRACTS
from worker.sandbox.emulator.faults import FaultKind, PlanError, PlannedFault, parse
from worker.sandbox.emulator.server import Emulator, EmulatorOptions

KEY = "k" * 44
NOW = int(time.time())

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
MINIMAL_HEADER = "application_id,profile_id,event_name,event_timestamp"
MINIMAL = f"1111,u,e,{NOW}"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    options = EmulatorOptions(
        keys={1111: KEY, 2222: "other"},
        body_bytes_max=4096,
        refused={"event_name": frozenset({"forbidden"})},
    )
    async with Emulator(options) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(emulator.base_url) as client:
        yield client


async def post(
    client: aiohttp.ClientSession,
    body: str | bytes,
    key: str | None = KEY,
    path: str = "events.csv",
) -> tuple[int, str]:
    parameters = {"post_api_key": key} if key is not None else {}
    content = io.BytesIO(body.encode() if isinstance(body, str) else body)
    async with client.post(
        f"/logs/v1/import/{path}", params=parameters, data=content, allow_redirects=False
    ) as response:
        return response.status, await response.text()


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


class TestTheLedger:
    async def test_it_shows_which_request_brought_which_row(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        for number in range(3):
            url = "/logs/v1/import/events.csv"
            body = f"{MINIMAL_HEADER}\n1111,user-{number},e,{NOW}\n"
            async with client.post(
                url, params={"post_api_key": KEY}, data=body, headers={"X-Request-Id": f"r{number}"}
            ):
                pass
        async with client.get("/_emulator/rows", params={"after": "1", "limit": "1"}) as response:
            (row,) = await response.json()
        assert (row["request_id"], row["values"]["profile_id"]) == ("r1", "user-1")
        async with client.get("/_emulator/requests") as response:
            assert [(one["request_id"], one["answer"]) for one in await response.json()] == [
                ("r0", "200"),
                ("r1", "200"),
                ("r2", "200"),
            ]
        async with client.get("/_emulator/ledger") as response:
            summary = await response.json()
        assert (summary["rows_total"], summary["rows_by_application"], summary["is_complete"]) == (
            3,
            {"1111": 3},
            True,
        )

    async def test_it_says_when_it_could_not_keep_everything(self) -> None:
        options = EmulatorOptions(keys={1111: KEY}, entries_max=2)
        async with (
            Emulator(options) as emulator,
            aiohttp.ClientSession(emulator.base_url) as client,
        ):
            await post(client, f"{MINIMAL_HEADER}\n{MINIMAL}\n{MINIMAL}\n{MINIMAL}\n")
            assert (len(emulator.ledger.rows), emulator.ledger.rows_total) == (2, 3)
            assert emulator.ledger.summary()["is_complete"] is False

    async def test_it_can_be_cleared_and_waited_for(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        waiting = asyncio.create_task(
            emulator.ledger.wait_for(lambda ledger: ledger.rows_total == 1, 5.0)
        )
        await post(client, f"{MINIMAL_HEADER}\n{MINIMAL}\n")
        await waiting
        async with client.delete("/_emulator/ledger") as response:
            assert response.status == 204
        assert emulator.ledger.summary()["rows_total"] == 0
        with pytest.raises(TimeoutError, match="not within"):
            await emulator.ledger.wait_for(lambda ledger: ledger.rows_total == 1, 0.01)


class TestTheClock:
    async def test_answers_have_its_time_and_ages_are_checked_with_it(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        ahead = 15 * 86_400
        async with client.put("/_emulator/clock", json={"ahead_seconds": ahead}) as response:
            assert response.status == 204
        for path in ("/", "/_emulator/ledger"):
            async with client.head(path) as response:
                date = parsedate_to_datetime(response.headers["Date"]).timestamp()
                assert abs(date - time.time() - ahead) < 60
        assert (await post(client, f"{MINIMAL_HEADER}\n{MINIMAL}\n"))[0] == 400
        emulator.set_clock(0)
        assert (await post(client, f"{MINIMAL_HEADER}\n{MINIMAL}\n"))[0] == 200

    @pytest.mark.parametrize("clock", [[], {}, {"ahead_seconds": True}, {"ahead_seconds": 10**12}])
    async def test_an_impossible_clock_is_refused(
        self, client: aiohttp.ClientSession, clock: object
    ) -> None:
        async with client.put("/_emulator/clock", json=clock) as response:
            assert response.status == 400


class TestFaults:
    BODY = f"{MINIMAL_HEADER}\n{MINIMAL}\n"

    async def test_a_status_with_retry_after_for_a_number_of_requests(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.STATUS, status=429, retry_after="7", count=1))
        async with client.post(
            "/logs/v1/import/events.csv", params={"post_api_key": KEY}, data=self.BODY
        ) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert (await post(client, self.BODY))[0] == 200

    async def test_a_fault_may_concern_one_application(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.STATUS, application_id=2222))
        assert (await post(client, self.BODY))[0] == 200
        assert (await post(client, self.BODY, "other"))[0] == 503

    async def test_a_fault_may_pass_with_time(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.STATUS, seconds=0.0))
        assert (await post(client, self.BODY))[0] == 200

    @pytest.mark.parametrize(
        ("kind", "rows"),
        [
            (FaultKind.RESET_BEFORE, 0),
            (FaultKind.RESET_DURING, 0),
            (FaultKind.RESET_AFTER, 0),
            (FaultKind.ACCEPT_THEN_DROP, 1),
        ],
    )
    async def test_a_reset_gives_no_answer(
        self, emulator: Emulator, client: aiohttp.ClientSession, kind: FaultKind, rows: int
    ) -> None:
        emulator.plan(PlannedFault(kind))
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(client, self.BODY)
        assert emulator.ledger.rows_total == rows

    async def test_a_body_breaks_off_after_the_200(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.BROKEN_BODY))
        async with client.post(
            "/logs/v1/import/events.csv", params={"post_api_key": KEY}, data=self.BODY
        ) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert emulator.ledger.rows_total == 1

    async def test_a_redirect_names_its_location(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        url = "/logs/v1/import/events.csv"
        for status in (302, 307):
            chosen = None if status == 302 else status
            emulator.plan(PlannedFault(FaultKind.REDIRECT, status=chosen, location="/there"))
            async with client.post(
                url, params={"post_api_key": KEY}, data=self.BODY, allow_redirects=False
            ) as response:
                assert (response.status, response.headers["Location"]) == (status, "/there")

    async def test_a_slow_answer_drips(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.SLOW_DRIP, delay_seconds=0.01))
        assert await post(client, self.BODY) == (200, "accepted\n")

    async def test_a_fault_may_concern_what_rows_hold(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.STATUS, status=500, text="poison"))
        poisoned = MINIMAL_HEADER + ",device_model\n" + MINIMAL + ",poison\n"
        assert (await post(client, poisoned))[0] == 500
        assert (await post(client, poisoned.replace("poison", "harmless")))[0] == 200

    async def test_slow_rows_are_kept_although_nobody_waits(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.SLOW_ROWS, delay_seconds=0.2))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await post(client, f"{MINIMAL_HEADER}\n{MINIMAL}\n")
        await emulator.ledger.wait_for(lambda ledger: ledger.rows_total == 1, 10.0)

    async def test_a_request_that_hangs_gets_no_answer_and_no_row_is_kept(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.HANG))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await post(client, f"{MINIMAL_HEADER}\n{MINIMAL}\n")
        assert emulator.ledger.rows_total == 0

    async def test_a_delay_comes_before_the_answer(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.DELAY, delay_seconds=0.2))
        started = time.monotonic()
        assert (await post(client, self.BODY))[0] == 200
        assert time.monotonic() - started >= 0.2

    async def test_a_plan_can_be_put_read_and_deleted(self, client: aiohttp.ClientSession) -> None:
        plan = [{"kind": "status", "status": 500, "seconds": 60}]
        async with client.put("/_emulator/faults", json=plan) as response:
            assert response.status == 204
        assert (await post(client, self.BODY))[0] == 500
        async with client.get("/_emulator/faults") as response:
            assert [(one["kind"], one["status"]) for one in await response.json()] == [
                ("status", 500)
            ]
        async with client.delete("/_emulator/faults") as response:
            assert response.status == 204
        assert (await post(client, self.BODY))[0] == 200

    async def test_keys_and_refused_values_can_be_changed(
        self, client: aiohttp.ClientSession
    ) -> None:
        async with client.put("/_emulator/keys", json={"1111": "new"}) as response:
            assert response.status == 204
        assert (await post(client, self.BODY))[0] == 403
        assert (await post(client, self.BODY, "new"))[0] == 200
        async with client.put("/_emulator/refused", json={"event_name": ["e"]}) as response:
            assert response.status == 204
        assert (await post(client, self.BODY, "new"))[0] == 400

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            ("refused", {"event_name": "forbidden"}, "refused values are an object"),
            ("refused", {"evnt_name": ["forbidden"]}, "no resource has the column 'evnt_name'"),
            ("refused", ["forbidden"], "refused values are an object"),
            ("keys", {"films": "k"}, "keys are an object"),
            ("keys", {"1111": None}, "keys are an object"),
        ],
        ids=[
            "text for a list",
            "unknown column",
            "no object",
            "application that is no number",
            "no key",
        ],
    )
    async def test_what_cannot_be_set_is_reported(
        self, client: aiohttp.ClientSession, path: str, value: object, message: str
    ) -> None:
        async with client.put(f"/_emulator/{path}", json=value) as response:
            assert (response.status, message in await response.text()) == (400, True)

    @pytest.mark.parametrize(
        ("plan", "message"),
        [
            ({}, "a plan is a list"),
            ([1], "fault 0 is not an object"),
            ([{"kind": "explode"}], "kind is one of"),
            ([{"kind": "status", "statu": 1}], "unknown field 'statu'"),
            ([{"kind": "status", "status": "503"}], "status can't be '503'"),
            ([{"kind": "status", "status": 199}], "between 200 and 599"),
            ([{"kind": "redirect", "location": "/a\r\nSet-Cookie: b"}], "location is a header"),
            ([{"kind": "status", "retry_after": "1\n2"}], "retry_after is a header"),
            ([{"kind": "delay", "delay_seconds": -1}], "delay_seconds can't be -1"),
            ([{"kind": "status", "count": True}], "count can't be True"),
        ],
    )
    def test_a_plan_that_cannot_be_understood_is_reported(self, plan: object, message: str) -> None:
        with pytest.raises(PlanError, match=message):
            parse(plan)

    async def test_a_bad_plan_over_http_is_a_400(self, client: aiohttp.ClientSession) -> None:
        async with client.put("/_emulator/faults", data="nonsense") as response:
            assert (response.status, "not JSON" in await response.text()) == (400, True)
