"""cloud.migrate over a real database: whole files or nothing, one worker at a time."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from cloud.adapters.postgres.pool import connect
from cloud.adapters.postgres.schema import Schema
from cloud.migrate import migrate, read


async def bring_up(url: str, folder: Path) -> list[str]:
    async with connect(url) as connection:
        return [each.name for each in await migrate(Schema(connection), read(folder))]


async def count(url: str, table: str) -> int:
    async with connect(url) as connection:
        return int(await connection.fetchval(f"select count(*) from {table}"))


async def test_migrating_twice_does_nothing_twice(empty_database_url: str) -> None:
    async with connect(empty_database_url) as connection:
        assert await migrate(Schema(connection), read())
        name = await Schema(connection).store_id()
        assert await migrate(Schema(connection), read()) == []
        assert await Schema(connection).store_id() == name


async def test_a_failing_file_leaves_nothing_of_itself(
    empty_database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "0001_good.sql").write_text("create table good (n int)")
    (tmp_path / "0002_bad.sql").write_text("create table bad (n int); select 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await bring_up(empty_database_url, tmp_path)
    assert await count(empty_database_url, "good") == 0
    with pytest.raises(asyncpg.UndefinedTableError):
        await count(empty_database_url, "bad")
    (tmp_path / "0002_bad.sql").write_text("create table bad (n int)")
    assert await bring_up(empty_database_url, tmp_path) == ["0002_bad.sql"]


async def test_two_workers_at_once_apply_each_file_once(
    empty_database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "0001_slow.sql").write_text(
        "create table once (n int); insert into once values (1); select pg_sleep(0.05);"
    )
    async with asyncio.TaskGroup() as workers:
        both = [workers.create_task(bring_up(empty_database_url, tmp_path)) for _ in range(2)]
    assert sorted(len(each.result()) for each in both) == [0, 1]
    assert await count(empty_database_url, "once") == 1
