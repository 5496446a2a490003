"""What may be let in, by the pure function: the oracle of every bucket."""

import numpy as np
from hypothesis import strategies as st

from wire.token_bucket import EMPTY_AT_MS, admit

MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 499, 999, 1_000, 1_001, 2_500]),
        st.lists(st.integers(1, 3), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=12,
)
"""Messages as milliseconds since the one before and the sensor of each reading."""


class Oracle:
    """``wire.token_bucket.admit``, all or nothing."""

    def __init__(self) -> None:
        self._due_ms = np.full(10, EMPTY_AT_MS, np.int64)

    def take(self, sensors: list[int], at_ms: int) -> bool:
        """Return whether a message is let in; spend its tokens if so."""
        verdict = admit(self._due_ms, np.array(sensors, np.intp), np.full(len(sensors), at_ms))
        if verdict.admitted.all():
            self._due_ms = verdict.due_ms
        return bool(verdict.admitted.all())

    def would(self, sensors: list[int], at_ms: int) -> bool:
        """Return whether a message would be let in."""
        bucket, at = np.array(sensors, np.intp), np.full(len(sensors), at_ms)
        return bool(admit(self._due_ms, bucket, at).admitted.all())
