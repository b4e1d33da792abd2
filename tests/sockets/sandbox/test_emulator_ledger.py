"""What the emulator shows of the requests that it answered, and its clock."""

from __future__ import annotations

import asyncio
import time
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from tests.sockets.sandbox.posting import KEY, MINIMAL, MINIMAL_HEADER, NOW, post
from worker.sandbox.emulator.server import Emulator, EmulatorOptions


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
