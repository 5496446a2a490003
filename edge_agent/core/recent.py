"""Which batches were sealed lately, told by their numbers in the spool."""

from collections import deque
from typing import Final

_MARKS: Final = 60


class Recent:
    """The batches sealed within a span of steady time, or at most a sixtieth of it earlier.

    Attributes:
        number: Of the first of them; every later one is recent too.
    """

    def __init__(self, span_ms: int, number: int) -> None:
        """Begin with the batches from a number on, as if sealed at the first ``note``."""
        self.number = number
        self._span_ms, self._grain_ms = span_ms, span_ms // _MARKS
        self._marks: deque[tuple[int, int]] = deque()

    def note(self, steady_ms: int, following: int) -> None:
        """Note how late it is, and the number of the first batch sealed since the last time."""
        marks = self._marks
        if not marks or marks[-1][0] <= steady_ms - self._grain_ms:
            marks.append((steady_ms, following if marks else self.number))
        while marks[0][0] <= steady_ms - self._span_ms - self._grain_ms:
            marks.popleft()
        self.number = marks[0][1]
