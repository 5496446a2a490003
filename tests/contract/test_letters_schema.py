"""Dead letters that a program of the time before decisions goes on writing."""

from cloud.adapters.postgres.dead_letters import PostgresLetters
from cloud.adapters.postgres.pool import connect, pool
from cloud.core.arrivals import sort_out
from cloud.core.dead_letters import Fate, LetterKind, State
from cloud.ingest.replay import Letters
from cloud.ingest.service import Ingest
from tests.support.builders import EPOCH, HUB, NORTH, a_batch
from tests.support.cloud import STORE, StoppedClock, a_delivery
from wire.codec import encode, peek
from wire.limits import BATCH_BYTES_MAX

OLD = (
    "insert into dead_letters (hub_id, epoch, sequence, crc, reason, body) "
    "values ($1, $2, $3, $4, $5, $6) on conflict (hub_id, epoch, sequence, crc) "
    "do update set attempts = dead_letters.attempts + 1, last_at = now()"
)


async def test_old_code_writes_to_the_new_table_and_new_code_decides_it(database_url: str) -> None:
    refused, good = a_batch(0), encode(a_batch(0))
    async with pool(database_url) as connections, connect(database_url) as old:
        store = PostgresLetters(connections, STORE)
        await Ingest(store, StoppedClock()).flush(sort_out([a_delivery(a_batch(1, sensors=[9]))]))
        await old.execute(
            "update hub_ledger set received = '{[0,2)}', refused = '{[0,1)}' where hub_id = $1", HUB
        )
        kept = (*refused.key, peek(good).crc)
        for reason, sequence in (("no such column", 0), ("key reuse", 1), ("claims to be x/y", 2)):
            for _ in range(2):
                await old.execute(OLD, HUB, EPOCH, sequence, kept[-1], reason, good)
        ids = await old.fetch("select dead_letter_id from dead_letters order by reason desc")
        found = [await store.letter(row[0]) for row in ids]
        assert [each and each.kind for each in found] == [
            LetterKind.REFUSED,
            LetterKind.REUSED,
            LetterKind.CLAIM,
        ]
        assert {each.state for each in found if each} == {State.KEPT}
        assert [each and each.topic for each in found] == [
            *[f"headgate/1/{NORTH}/{HUB}/batch"] * 2,
            "",
        ]
        letters = Letters(store, StoppedClock())
        fates = [(await letters.replay(row[0], "ann")).fate for row in ids]
        assert fates == [Fate.STORED, Fate.STILL_BAD, Fate.STILL_BAD]
        kinds = await old.fetch("select kind from dead_letters order by dead_letter_id")
        assert [row[0] for row in kinds] == ["refused", "reused", "claim"]


async def test_the_table_knows_how_long_a_batch_may_be(database_url: str) -> None:
    async with connect(database_url) as connection:
        rule = await connection.fetchval(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = 'body_bounded'"
        )
        assert str(BATCH_BYTES_MAX) in rule
