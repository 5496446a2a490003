"""A hub's disk in memory: what was not committed when the agent dies is gone; it may fail or fill.

It keeps its own record of what was ever made durable, for the laws to compare with.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import edge_agent.adapters.spool as spool_module
from edge_agent.adapters.sqlite import named_statements
from tests.support.sim_life import Weather, step
from wire.batch import Kind
from wire.ids import BatchKey, Epoch, HubId, Sequence

_SQL: Final = named_statements(Path(spool_module.__file__).with_suffix(".sql"))
_SEAL, _THIN, _WIDEN = _SQL["seal"], _SQL["thin"], _SQL["widen"]
_NAMES: Final = "select name from sqlite_schema where type = 'table'"
_TAKE, _KEEP = _SQL["take"], _SQL["keep_undated"]


class Disk(sqlite3.Connection):
    """One hub's database, opened again and again; closing it undoes what is not committed.

    Attributes:
        sealed: Every content ever committed under each key, the last one last.
        taken: (sensor_id, observed_at_ms) to the values of every reading ever in intake.
        undated: How many readings ever waited for a date.
        errors: How often it failed; a commit just before may have gone through.
    """

    weather: Weather
    hub_id: HubId

    def ready(self, weather: Weather, hub_id: HubId) -> "Disk":
        """Put the disk into the world."""
        self.weather, self.hub_id = weather, hub_id
        self.sealed: dict[BatchKey, list[bytes]] = {}
        self.taken: dict[tuple[int, int], bytes] = {}
        self.undated = self.errors = 0
        self._batches: list[tuple[BatchKey, bytes, bool]] = []
        self._readings: list[tuple[Any, ...]] = []
        self._waiting = self._full = 0
        return self

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        self._wear()
        if sql == _SEAL:
            if self.weather.strikes(self.weather.faults.full):
                self._full = self.weather.dice.randint(1, 3)  # thin; then shed; then shed more
            if self._full and values[2] != Kind.SHED:
                self._full -= 1
                self.weather.note(f"{self.hub_id}: disk full")
                full = sqlite3.OperationalError("database or disk is full")
                full.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise full
            self._batches.append((self._key(*values[:2]), values[-1], True))
        elif sql == _WIDEN:
            self._batches.append((self._key(*values[-2:]), values[-3], False))
        elif sql == _THIN:
            found = "select epoch, sequence from batches where number = ?"
            where = super().execute(found, (values[-1],)).fetchone()
            self._batches.append((self._key(*where), values[2], False))
        cursor = super().execute(sql, values)
        if sql == "commit":
            self._committed()
            self._wear()
        return cursor

    def executescript(self, script: str, /) -> sqlite3.Cursor:
        if script != _SQL["schema"]:
            return super().executescript(script)
        self._wear()
        return self.cursor()  # the tables are there: ``a_disk`` made them

    def executemany(self, sql: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
        self._wear()
        rows = list(rows)
        if sql == _TAKE:
            self._readings += rows
        elif sql == _KEEP:
            self._waiting += len(rows)
        return super().executemany(sql, rows)

    def rollback(self) -> None:
        self._forget()
        super().rollback()

    def close(self) -> None:
        self._forget()
        if self.in_transaction:
            super().rollback()

    def wipe(self) -> None:
        """Make it as good as new, but for the statements it has compiled."""
        self.close()
        for (table,) in super().execute(_NAMES).fetchall():
            super().execute(f"delete from {table}")

    @property
    def empty(self) -> bool:
        """Whether nothing is in intake, waits for a date or for a receipt; disturbs nobody."""
        tables = ("batches", "intake", "undated")
        anything = " or ".join(f"exists (select 1 from {table})" for table in tables)
        return not super().execute(f"select {anything}").fetchone()[0]

    def count(self, table: str) -> int:
        """Return how many rows a table has, without disturbing anybody."""
        return int(super().execute(f"select count(*) from {table}").fetchone()[0])

    def rot(self) -> None:
        """Flip a bit of a sealed batch, if there is any."""
        found = super().execute("select number, body from batches limit 1").fetchone()
        if found is not None:
            number, body = found
            at = self.weather.dice.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
            super().execute("update batches set body = ? where number = ?", (body, number))
            self.weather.note(f"{self.hub_id}: batch {number} rots")

    def _wear(self) -> None:
        step()
        if self.weather.strikes(self.weather.faults.disk):
            self.weather.note(f"{self.hub_id}: disk error")
            self.errors += 1
            raise sqlite3.OperationalError("disk I/O error")

    def _committed(self) -> None:
        for key, body, new in self._batches:
            assert new != (key in self.sealed), f"{key} sealed again"
            self.sealed.setdefault(key, []).append(body)
            self.weather.note(f"sealed {self.name(key)}, {len(body)} bytes")
        for sensor_id, at_ms, _, _, measured in self._readings:
            assert (sensor_id, at_ms) not in self.taken, f"{sensor_id} at {at_ms} taken twice"
            self.taken[sensor_id, at_ms] = measured
        self.undated += self._waiting
        self._forget()

    def _forget(self) -> None:
        self._batches, self._readings, self._waiting = [], [], 0

    def _key(self, epoch: int, sequence: int) -> BatchKey:
        return BatchKey(self.hub_id, Epoch(epoch), Sequence(sequence))

    @staticmethod
    def name(key: BatchKey) -> str:
        """Return a key for people: enough of the epoch to tell lives apart."""
        return f"{key.hub_id}/{key.epoch % 10_000}/{key.sequence}"


def _new() -> Disk:
    made = sqlite3.connect(":memory:", isolation_level=None, factory=Disk)
    sqlite3.Connection.executescript(made, _SQL["schema"])
    return made


_DISKS: Final[defaultdict[HubId, Disk]] = defaultdict(_new)


def a_disk(weather: Weather, hub_id: HubId) -> Disk:
    """Return an empty disk: the one the hub had in the run before, which is over.

    SQLite has compiled its statements already: a twentieth of a run would be spent on that.
    """
    disk = _DISKS[hub_id].ready(weather, hub_id)
    disk.wipe()
    return disk
