"""What the store answers when asked: rows as people see them, before they are written as text."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from wire.metric import METRICS

Row: TypeAlias = Mapping[str, Any]
"""Column name to value; the statement that reads it says which."""

Reading: TypeAlias = Sequence[Any]
"""timestamp (aware), one float or None per ``Metric``, quality, score or None, samples."""

QUALITY_AT: Final = METRICS + 1
SCORE_AT: Final = METRICS + 2
SAMPLES_AT: Final = METRICS + 3


class Again(NamedTuple):
    """We listen from now on; what was said before, we may have missed."""


class Changed(NamedTuple):
    """These alerts were opened or changed, and that is committed."""

    alert_ids: frozenset[int]


News: TypeAlias = Again | Changed
