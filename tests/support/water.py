"""A hub and a ledger in memory, and short names for ordinary water."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.ledger import Entries
from firmware_sim.core.readings import Readings, joined, readings
from wire.errors import InfrastructureError
from wire.ids import UnixMs
from wire.metric import METRICS, Metric
from wire.reading import StatusMessage, encode_status, parse_sensor_message
from wire.topics import parse_sensor_data, sensor_status

Accepts = Callable[[int, int], bool]


def some_readings(sensor_ids: list[int], observed_at_ms: list[int], ph: float = 7.0) -> Readings:
    """Return readings that measure pH only."""
    values = np.full((len(sensor_ids), METRICS), np.nan)
    values[:, Metric.PH] = ph
    return readings(np.array(sensor_ids, np.int64), np.array(observed_at_ms, np.int64), values)


@dataclass
class MemoryLedger:
    """See ``firmware_sim.ports.Ledger``."""

    entries: list[Entries] = field(default_factory=list)
    committed_rows: set[int] = field(default_factory=set)
    events: list[dict[str, object]] = field(default_factory=list)
    notes: list[dict[str, object]] = field(default_factory=list)

    @property
    def readings(self) -> Readings:
        return joined([entries.readings for entries in self.entries])

    def made(self, entries: Entries) -> NDArray[np.int64]:
        first = len(self.readings)
        self.entries.append(entries)
        return np.arange(first, first + len(entries.readings), dtype=np.int64)

    def committed(self, rows: NDArray[np.int64]) -> None:
        self.committed_rows.update(rows.tolist())

    def event(self, fields: dict[str, object]) -> None:
        self.events.append(fields)

    def note(self, fields: dict[str, object]) -> None:
        self.notes.append(fields)


class MemoryHub:
    """A hub and its broker in one: stores readings in order, answers with a watermark.

    ``lose`` says which (sensor, time) vanish before they are stored though the broker took them,
    as when an agent is killed between PUBACK and commit: losing breaks the connection too.
    """

    def __init__(self, lose: Accepts = lambda sensor_id, at_ms: False) -> None:
        self.lose = lose
        self.stored: dict[tuple[int, int], list[float]] = {}
        self.heard: list[tuple[int, int]] = []
        self.messages = 0
        self.answers = True
        self.reachable = True
        self.sessions = 0
        self._broken: asyncio.Event = asyncio.Event()
        self._replies: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    def cut(self) -> None:
        """Break the connection."""
        self._broken.set()

    @asynccontextmanager
    async def session(self, filters: tuple[str, ...]) -> AsyncIterator["MemoryHub"]:
        if not self.reachable:
            raise InfrastructureError("nobody listens")
        self.sessions += 1
        self._broken = asyncio.Event()
        self._replies = asyncio.Queue()
        yield self

    async def publish(self, topic: str, body: bytes) -> None:
        if self._broken.is_set():
            raise InfrastructureError("cut")
        sensor_id = parse_sensor_data(topic)
        message = parse_sensor_message(body, sensor_id)
        self.messages += 1
        for at_ms, values in zip(
            message.observed_at_ms.tolist(), message.values.tolist(), strict=True
        ):
            self.heard.append((sensor_id, at_ms))
            if self.lose(sensor_id, at_ms):
                self.cut()
                return
            self.stored.setdefault((sensor_id, at_ms), values)
        if self.answers:
            through = UnixMs(int(message.observed_at_ms.max()))
            self._replies.put_nowait(
                (sensor_status(sensor_id), encode_status(StatusMessage(through)))
            )

    async def replies(self) -> AsyncIterator[tuple[str, bytes]]:
        while True:
            reply = asyncio.ensure_future(self._replies.get())
            broken = asyncio.ensure_future(self._broken.wait())
            try:
                await asyncio.wait({reply, broken}, return_when=asyncio.FIRST_COMPLETED)
                if broken.done():
                    raise InfrastructureError("cut")
                yield reply.result()
            finally:
                reply.cancel()
                broken.cancel()
