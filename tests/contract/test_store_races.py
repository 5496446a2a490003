"""Two workers with the same batch at once, over PostgreSQL."""

import numpy as np
import pytest

from cloud.adapters.postgres.pool import pool
from cloud.adapters.postgres.store import PostgresStore
from cloud.core.rows import gather
from tests.support.builders import a_batch
from tests.support.cloud import STORE
from wire.errors import InfrastructureError


@pytest.mark.parametrize("kept", ["refused", "conflicts"])
async def test_whoever_puts_the_same_rows_aside_later_begins_again(
    database_url: str, kept: str
) -> None:
    batch = a_batch(sensors=[7])
    rows = gather([batch])
    rows = rows.take(np.ones(len(rows), np.bool_))
    async with pool(database_url) as connections:
        store = PostgresStore(connections, STORE)

        async def put_aside() -> None:
            async with store.transaction() as transaction:
                if kept == "refused":
                    await transaction.add_refused(rows, ["foreign"], [batch.key])
                else:
                    await transaction.add_conflicts(rows, [batch.key])

        await put_aside()
        with pytest.raises(InfrastructureError, match="another worker"):
            await put_aside()
