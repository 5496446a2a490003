"""What sensors still hold: readings not yet sent, or sent and not yet known to be committed.

One table for all sensors of one connection, in the order the readings were made. Everything a
sensor says goes through it, so the order a hub sees is the order of observation: after a broken
connection the oldest goes first again, which is what a hub's watermark relies on.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.readings import Readings, joined

UNSENT_MS: Final = 0
_DOUBLINGS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class ResendPolicy:
    """When a reading that nobody confirmed is sent again.

    Attributes:
        after_ms: Wait after the first sending; it doubles with every further one, five times.
        held_max: Readings held at most; what is made beyond them is lost,
            on record.
    """

    after_ms: int = 5_000
    held_max: int = 100_000


class Pending:
    """The table. Not idempotent, not shared between tasks that run at once."""

    def __init__(self, policy: ResendPolicy) -> None:
        """Hold nothing yet."""
        self._policy = policy
        self._held = joined([])
        self._rows = np.empty(0, np.int64)  # place of each reading in the ledger
        self._due_ms = np.empty(0, np.int64)
        self._sendings = np.empty(0, np.int64)

    def __len__(self) -> int:
        """Return how many readings are held."""
        return len(self._held)

    def __repr__(self) -> str:
        """Show the state."""
        sent = int((self._sendings > 0).sum())
        return f"<Pending {len(self)} held, {sent} sent, {len(self) - sent} unsent>"

    @property
    def room(self) -> int:
        """How many more readings can be kept."""
        return max(0, self._policy.held_max - len(self))

    def add(self, made: Readings, rows: NDArray[np.int64]) -> None:
        """Hold readings just made, due at once.

        Args:
            made: At most ``room`` of them, not older than any held reading of the same sensor.
            rows: int64, their places in the ledger.
        """
        assert len(made) <= self.room, "more readings than there is room for"
        self._held = joined([self._held, made])
        self._rows = np.concatenate([self._rows, rows])
        self._due_ms = np.concatenate([self._due_ms, np.full(len(made), UNSENT_MS)])
        self._sendings = np.concatenate([self._sendings, np.zeros(len(made), np.int64)])

    def take(self, now_ms: int, most: int) -> tuple[Readings, NDArray[np.bool_]]:
        """Return what must be sent now, oldest first, and whether each goes out for the first time.

        What is kept comes due again later; what is not kept is forgotten by this.

        Args:
            now_ms: Steady time.
            most: Readings at most.
        """
        due = np.flatnonzero(self._due_ms <= now_ms)[:most]
        taken, first = self._held.where(due), self._sendings[due] == 0
        if not len(due):
            return taken, first
        waits = self._policy.after_ms << np.minimum(self._sendings[due], _DOUBLINGS_MAX)
        self._due_ms[due] = now_ms + waits
        self._sendings[due] += 1
        if not taken.kept.all():
            stays = np.ones(len(self), bool)
            stays[due[~taken.kept]] = False
            self._keep_only(stays)
        return taken, first

    def commit(
        self, through_ms: dict[int, int], named_ms: Mapping[int, Collection[int]] | None = None
    ) -> NDArray[np.int64]:
        """Forget what is committed: every sent reading of a sensor up to a time, and those named.

        Idempotent.

        Args:
            through_ms: Sensor to the newest observed time its hub vouches for.
            named_ms: Sensor to the times of single readings it vouches for.

        Returns:
            int64, ledger places of the readings now known to be committed.
        """
        if not through_ms or not len(self):
            return np.empty(0, np.int64)
        sensors = np.array(sorted(through_ms), np.int64)
        limits = np.array([through_ms[sensor] for sensor in sensors.tolist()], np.int64)
        place = np.searchsorted(sensors, self._held.sensor_ids).clip(max=len(sensors) - 1)
        covered = (
            (sensors[place] == self._held.sensor_ids)
            & (self._held.observed_at_ms <= limits[place])
            & (self._sendings > 0)
        )
        for sensor, times in (named_ms or {}).items():
            own = np.flatnonzero((self._held.sensor_ids == sensor) & (self._sendings > 0))
            covered[own] |= np.isin(self._held.observed_at_ms[own], list(times))
        committed: NDArray[np.int64] = self._rows[covered]
        self._keep_only(~covered)
        return committed

    def rewind(self) -> None:
        """Make everything due at once: the connection broke, nobody knows what arrived."""
        self._due_ms[:] = UNSENT_MS

    def _keep_only(self, stays: NDArray[np.bool_]) -> None:
        self._held = self._held.where(stays)
        self._rows, self._due_ms = self._rows[stays], self._due_ms[stays]
        self._sendings = self._sendings[stays]
