"""Dead letters as people meet them: over HTTP, and by the real command, killed too."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloud.adapters.postgres.dead_letters import PostgresLetters
from cloud.adapters.postgres.pool import pool
from cloud.api.dead_letters import LetterList, WholeLetter
from cloud.ingest.service import Ingest
from tests.support.api import connected, running_api
from tests.support.builders import EPOCH, HUB, a_batch
from tests.support.cloud import STORE, StoppedClock
from tests.support.letters import misread
from tests.support.wait import until
from wire.batch import Batch
from wire.clock import SystemClock
from wire.codec import encode

TODAY = SystemClock().now_ms()
LETTERS = 200
WHY = "sensor ids are not of this version"


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresLetters]:
    async with pool(database_url) as connections:
        yield PostgresLetters(connections, STORE)


async def refuse(store: PostgresLetters, *batches: Batch, why: str = WHY) -> None:
    await Ingest(store, StoppedClock()).flush(misread(*batches, why=why))


def fresh_batch(sequence: int, **more: Any) -> Batch:
    """Return a batch of this month's; no two of them share an instant."""
    return a_batch(sequence, times=[TODAY - sequence], **more)


def dlq(url: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "headgate.cli", "dlq", *words],
        env={**os.environ, "HEADGATE_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.spec("Q3", "E11")
async def test_the_list_is_newest_first_paged_filtered_and_without_bytes(
    store: PostgresLetters, database_url: str
) -> None:
    await refuse(store, *(a_batch(n) for n in range(5)))
    await refuse(store, a_batch(9), why="key reuse")
    async with running_api(database_url) as api:
        answer = await api.get("/api/dead-letters", params={"limit": 2})
        seen = []
        while True:
            page = LetterList.model_validate_json(answer.content, strict=True)
            seen += [letter.letter_id for letter in page.letters]
            if "next" not in answer.links:
                break
            answer = await api.get(answer.links["next"]["url"])
        assert seen == ["6", "5", "4", "3", "2", "1"]
        assert "body" not in answer.text

        async def found(**asked: str) -> list[str]:
            letters = (await api.get("/api/dead-letters", params=asked)).json()["letters"]
            return [letter["letter_id"] for letter in letters]

        assert await found(reason="key") == ["6"]
        assert await found(reason="%") == []
        assert await found(hub_id="hub-2") == []
        assert len(await found(hub_id=HUB, state="all")) == 6
        assert await found(state="dropped") == []


@pytest.mark.spec("Q3", "E11")
async def test_one_letter_shows_its_head_and_what_can_be_read_today(
    store: PostgresLetters, database_url: str
) -> None:
    await refuse(store, a_batch(3, sensors=[1, 2]))
    async with connected(database_url) as database, running_api(database_url) as api:
        answer = await api.get("/api/dead-letters/1")
        letter = WholeLetter.model_validate_json(answer.content, strict=True)
        assert letter.header is not None
        assert (letter.epoch, letter.sequence, letter.header.rows) == (str(EPOCH), 3, 2)
        assert letter.header.metrics == ["ph_level"]
        assert letter.content is not None
        assert letter.head_hex == encode(a_batch(3, sensors=[1, 2])).hex()[:512]
        await database.execute("update dead_letters set body = 'noise'")
        broken = (await api.get("/api/dead-letters/1")).json()
        assert (broken["header"], broken["content"]) == (None, None)
        assert broken["fault"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/2", 404), ("/x", 422), ("/-1", 422), ("?state=lost", 422), ("?hub_id=%25", 422)],
)
async def test_what_cannot_be_answered_is_a_problem(
    database_url: str, path: str, status: int
) -> None:
    async with running_api(database_url) as api:
        answer = await api.get(f"/api/dead-letters{path}")
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.spec("Q3")
async def test_the_command_lists_shows_replays_and_drops(
    store: PostgresLetters, database_url: str
) -> None:
    await refuse(store, fresh_batch(0), fresh_batch(1))
    await refuse(store, fresh_batch(0, ph=8.0), why="key reuse")
    listed = dlq(database_url, "list")
    assert WHY in listed.stdout, listed.stderr
    assert dlq(database_url, "list", "--ids").stdout.split() == ["3", "2", "1"]
    shown = json.loads(dlq(database_url, "show", "1", "--json").stdout)
    assert shown["content"]["rows"] == 1
    replayed = dlq(database_url, "replay", "1", "--by", "ann")
    assert (replayed.returncode, replayed.stdout) == (0, "letter 1: stored: 1 rows\n")
    again = dlq(database_url, "replay", "1", "77", "--json")
    assert again.returncode == 1
    fates = [each["fate"] for each in json.loads(again.stdout)["decisions"]]
    assert fates == ["decided", "unknown"]
    assert dlq(database_url, "drop", "2", "--by", "bob").stdout == "letter 2: dropped\n"
    async with connected(database_url) as database:
        kept = await database.fetch("select state, decided_by from dead_letters order by 1")
        assert [tuple(row) for row in kept] == [
            ("dropped", "bob"),
            ("kept", None),
            ("replayed", "ann"),
        ]
        assert await database.fetchval("select count(*) from sensor_readings") == 1


async def test_a_letter_nobody_has_is_one_line_and_a_hint(database_url: str) -> None:
    said = dlq(database_url, "show", "5")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == "error: there is no dead letter 5\n  hint: headgate dlq list\n"


@pytest.mark.spec("Q3", "S1")
async def test_killed_at_any_moment_a_replay_stores_each_batch_exactly_once(
    store: PostgresLetters, database_url: str
) -> None:
    await refuse(store, *(fresh_batch(n, sensors=range(20)) for n in range(LETTERS)))
    async with connected(database_url) as database:
        stored = [await after_a_kill(database_url, database) for _ in range(4)]
        assert len(set(stored)) > 1, "no kill met a replay at work"
        assert await asyncio.to_thread(lambda: replay(database_url).wait(120)) == 0
        assert await database.fetchval("select count(*) from sensor_readings") == 20 * LETTERS
        assert await database.fetchval("select count(*) from batch_log") == LETTERS
        assert await database.fetchval("select refused = '{}' from hub_ledger")


def replay(url: str) -> "subprocess.Popen[bytes]":
    """Begin to replay every letter."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "cloud", "dlq", "replay", *map(str, range(1, LETTERS + 1))],
        env={**os.environ, "HEADGATE_DATABASE_URL": url},
        stdout=subprocess.DEVNULL,
    )


async def after_a_kill(url: str, database: Any) -> int:
    """Kill a replay at work; return how many letters are replayed, everything else agreeing."""

    async def replayed() -> int:
        return int(
            await database.fetchval("select count(*) from dead_letters where state = 'replayed'")
        )

    before, process = await replayed(), replay(url)

    async def under_way() -> bool:
        return process.poll() is not None or await replayed() >= before + 15

    went_on: bool = await until(under_way, within_s=30)
    process.kill()
    await asyncio.to_thread(process.wait, 10)
    assert went_on
    counts = await database.fetchrow(
        "select (select count(*) from sensor_readings) as rows, (select count(*) from "
        "dead_letters where state = 'replayed') as letters, (select sum(upper(r) - lower(r)) "
        "from hub_ledger, unnest(refused) r) as refused"
    )
    assert counts["rows"] == 20 * counts["letters"]
    assert counts["refused"] == LETTERS - counts["letters"]
    return int(counts["letters"])
