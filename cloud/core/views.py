"""What the store answers when asked: rows as people see them, before they are written as text."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from wire.ids import UnixMs
from wire.metric import METRICS

Row: TypeAlias = Mapping[str, Any]
"""Column name to value; the statement that reads it says which."""

Reading: TypeAlias = Sequence[Any]
"""timestamp (aware), one float or None per ``Metric``, quality, score or None, samples."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
QUALITY_AT: Final = METRICS + 1
SCORE_AT: Final = METRICS + 2
SAMPLES_AT: Final = METRICS + 3


def instant_of(at_ms: UnixMs) -> datetime:
    """Return the instant of Unix milliseconds, exactly."""
    return _EPOCH + timedelta(milliseconds=at_ms)


class Again(NamedTuple):
    """We listen from now on; what was said before, we may have missed."""


class Changed(NamedTuple):
    """These alerts were opened or changed, and that is committed."""

    alert_ids: frozenset[int]


News: TypeAlias = Again | Changed
