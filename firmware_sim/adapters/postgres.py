"""The store as the oracle sees it: PostgreSQL, through asyncpg, rows as binary columns."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final

import asyncpg
import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.alerting import Alert
from firmware_sim.core.comparison import Refused, Sheds, Stored
from firmware_sim.core.events import Kind
from wire.batch import Batch
from wire.codec import decode
from wire.errors import InfrastructureError, MalformedBatchError
from wire.metric import COLUMNS, METRICS

_QUESTION_S: Final = 600.0
_EPOCH_2000_US: Final = 946_684_800_000_000
_COPY_HEAD_BYTES: Final = 19  # signature, flags, length of an empty extension
_COPY_TAIL_BYTES: Final = 2

_ROW: Final = np.dtype(
    [
        ("fields", ">i2"),
        ("sensor_id_bytes", ">i4"),
        ("sensor_id", ">i8"),
        ("timestamp_bytes", ">i4"),
        ("timestamp", ">i8"),
        ("metrics", [("bytes", ">i4"), ("value", ">f4")], (METRICS,)),
        ("samples_bytes", ">i4"),
        ("samples", ">i8"),
    ]
)


class PostgresStore:
    """See ``ports.Store``. Every question is asked of one snapshot connection."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        """Take an open connection."""
        self._connection = connection

    async def stored(self, first_sensor: int, last_sensor: int) -> Stored:
        """See ``ports.Store``."""
        body = bytearray()

        async def collect(part: bytes) -> None:
            body.extend(part)

        metrics = ", ".join(f"coalesce({column}, 'NaN')" for column in COLUMNS)
        with _translated():
            await self._connection.copy_from_query(
                _SQL["stored"].format(metrics=metrics),
                first_sensor,
                last_sensor,
                output=collect,
                format="binary",
                timeout=_QUESTION_S,
            )
        rows = np.frombuffer(bytes(body[_COPY_HEAD_BYTES:-_COPY_TAIL_BYTES]), _ROW)
        return Stored(
            rows["sensor_id"].astype(np.int64),
            rows["timestamp"].astype(np.int64) + _EPOCH_2000_US,
            rows["metrics"]["value"].astype(np.float32),
            rows["samples"].astype(np.int64),
        )

    async def refused(self, first_sensor: int, last_sensor: int) -> Refused:
        """See ``ports.Store``. Counts the rows of wholly refused batches too."""
        with _translated():
            rows = await self._connection.fetch(
                _SQL["refused"], first_sensor, last_sensor, timeout=_QUESTION_S
            )
            bodies = await self._connection.fetch(_SQL["dead_letters"], timeout=_QUESTION_S)
        keys = np.array([(r[0], _unix_ms(r[1]), r[2]) for r in rows], np.int64).reshape(-1, 3)
        batches = [_rows_of(record["body"]) for record in bodies]
        every = np.concatenate([keys, *batches])
        within = (every[:, 0] >= first_sensor) & (every[:, 0] <= last_sensor)
        return Refused(every[within, 0], every[within, 1], every[within, 2])

    async def conflicts(self, first_sensor: int, last_sensor: int) -> int:
        """See ``ports.Store``."""
        with _translated():
            count = await self._connection.fetchval(_SQL["conflicts"], first_sensor, last_sensor)
        return int(count)

    async def sheds(self) -> Sheds:
        """See ``ports.Store``."""
        with _translated():
            told = await self._connection.fetch(_SQL["sheds"], timeout=_QUESTION_S)
            sensors = await self._connection.fetch(_SQL["shedders"], timeout=_QUESTION_S)
        number = {hub: at for at, hub in enumerate(sorted({record["hub_id"] for record in told}))}
        rows = [
            (number[hub], _unix_ms(first), _unix_ms(last), rows) for hub, first, last, rows in told
        ]
        whose = [(sensor_id, number[hub]) for sensor_id, hub in sensors]
        return Sheds(
            *np.array(whose, np.int64).reshape(-1, 2).T, *np.array(rows, np.int64).reshape(-1, 4).T
        )

    async def alerts(self, first_sensor: int, last_sensor: int) -> list[Alert]:
        """See ``ports.Store``."""
        with _translated():
            rows = await self._connection.fetch(_SQL["alerts"], first_sensor, last_sensor)
        return [
            Alert(
                alert_id,
                sensor_id,
                metric,
                _unix_ms(opened),
                _unix_ms(last),
                Kind.CONTAMINATION if water else Kind.FAULT,
            )
            for alert_id, sensor_id, metric, opened, last, water in rows
        ]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[PostgresStore]:
    """Lend a store that sees one unchanging moment of the database.

    Raises:
        InfrastructureError: The database cannot be reached, or went away.
    """
    with _translated():
        connection = await asyncpg.connect(url, timeout=30)
    try:
        with _translated():
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield PostgresStore(connection)
    finally:
        await connection.close(timeout=10)


def _rows_of(body: bytes) -> NDArray[np.int64]:
    """Return sensor, time (ms) and samples of a refused batch's rows; none if it is unreadable."""
    try:
        batch = decode(body)
    except MalformedBatchError:
        return np.empty((0, 3), np.int64)
    if not isinstance(batch, Batch):
        return np.empty((0, 3), np.int64)
    return np.stack(
        [batch.sensor_ids, batch.observed_at_ms, batch.samples.astype(np.int64)], axis=1
    )


def _unix_ms(instant: datetime) -> int:
    since = instant - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


def _questions(text: str) -> dict[str, str]:
    """Return each question under its name: ``-- name: what for`` and the statement after it."""
    blocks = [block.strip() for block in text.split("\n\n") if ":" in block.splitlines()[0]]
    return {
        block.split(":")[0].removeprefix("-- "): block.split("\n", 1)[1].rstrip(";")
        for block in blocks
    }


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError, TimeoutError) as exc:
        raise InfrastructureError(f"database: {exc}") from exc


_SQL: Final = _questions((files("firmware_sim.adapters") / "oracle.sql").read_text())
