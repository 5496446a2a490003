"""How much each row a hub sends looks like contamination: baselines per sensor, one model for all.

The unit is a sensor: its rows are held against its own past, whatever its neighbours measure. What
is known of a sensor is kept in memory only: after a restart it is learnt again, and until then its
rows bear no score.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.register import Register
from edge_agent.core.rows import Rows, joined
from water.features import Baselines, blank, observe
from water.model import Model

Scores = NDArray[np.float32]

_NOBODY: Final = np.empty(0, np.intp)


class Scored(NamedTuple):
    """What rows score, and what to remember once they are on disk.

    Attributes:
        parts: float32, 0..1, as many for each part as it has rows; NaN where nothing was judged.
        places: The sensors whose baselines moved.
        baselines: Theirs, afterwards.
    """

    parts: list[Scores]
    places: NDArray[np.intp]
    baselines: Baselines

    def judged(self) -> int:
        """Return how many rows have a score."""
        return sum(int(np.count_nonzero(~np.isnan(part))) for part in self.parts)


class Scoring:
    """The baselines of a hub's sensors and the model that reads them."""

    def __init__(self, model: Model | None) -> None:
        """Know nothing yet; without a model nothing is ever judged."""
        self._model = model
        self._register = Register()
        self._nobodys = blank(0, 0 if model is None else len(model.told.memory_ms))
        self._baselines = self._nobodys

    def score(self, parts: Sequence[Rows]) -> Scored:
        """Return what the rows of each part score, one call of the model for all; learns nothing.

        A sensor's rows rise in time over all parts. One that is not newer than what the sensor was
        last judged by is late: it is not judged.
        """
        model, sizes = self._model, [len(part) for part in parts]
        if model is None or not sum(sizes):
            return Scored([unscored(part) for part in parts], _NOBODY, self._nobodys)
        rows = joined(parts)
        places = self._register.enter(rows.sensor_ids)
        self._baselines = self._baselines.grown(len(self._register))
        order = np.argsort(places, kind="stable")
        newest_ms = self._baselines.last_ms.max(axis=1)
        order = order[places[order] >= 0]
        order = order[rows.observed_at_ms[order] > newest_ms[places[order]]]
        known, whose = np.unique(places[order], return_inverse=True)
        at_ms, values = rows.observed_at_ms[order], rows.values[order]
        found = observe(self._baselines.take(known), whose, at_ms, values, model.told)
        scores = unscored(rows)
        scores[order] = model.score(found.features)
        return Scored(np.split(scores, np.cumsum(sizes)[:-1]), known, found.after)

    def remember(self, scored: Scored) -> None:
        """Take what was scored, now on disk, as the past."""
        if len(scored.places):
            self._baselines.put(scored.places, scored.baselines)


def unscored(rows: Rows) -> Scores:
    """Return what rows score that nobody judged."""
    return np.full(len(rows), np.nan, np.float32)
