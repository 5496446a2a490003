"""The oracle reads what hubs shed, of their own sensors only, and no more of it than they said."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from firmware_sim.adapters.ledger_file import LedgerFile
from firmware_sim.adapters.postgres import connected
from firmware_sim.core.ledger import Entries
from firmware_sim.oracle.oracle import judge
from tests.support.water import some_readings

NOON_MS = 1_767_268_800_123
HUB_1, HUB_2 = 1, 2
SECONDS = 10


@pytest.mark.spec("I6")
@pytest.mark.parametrize(("rows", "rows_per_group"), [(4, 1), (4, 1_000), (99, 1_000)])
async def test_what_a_hub_shed_is_not_missing(
    database_url: str, tmp_path: Path, rows: int, rows_per_group: int
) -> None:
    made = some_readings(
        [HUB_1] * SECONDS + [HUB_2] * SECONDS,
        [NOON_MS + second * 1_000 for second in range(SECONDS)] * 2,
    )
    ledger = LedgerFile(tmp_path / "ledger")
    ledger.made(Entries(made, made.observed_at_ms))
    ledger.close()
    from_, to = NOON_MS + 1_000, NOON_MS + 6_000  # six readings of each sensor
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "insert into sensors values (1, 'hub-1', 'north'), (2, 'hub-2', 'north')"
    )
    await connection.execute(
        "insert into sheds values ('hub-1', 7, 4, 6, 0, 9, $1, $2, $3, 'spool at its cap')",
        *(instant(from_), instant(to), rows),
    )
    await connection.close()
    async with connected(database_url) as store:
        verdict = (await judge(tmp_path / "ledger", store, rows_per_group=rows_per_group)).readings
    assert verdict.shed == min(rows, 6)
    assert verdict.missing == 2 * SECONDS - verdict.shed


def instant(at_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
