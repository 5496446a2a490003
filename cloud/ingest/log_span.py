"""Finding in a region's log where a replay begins and ends."""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from cloud.core.errors import OperatorError
from cloud.core.log_span import SLICE_MS, SLICES_MAX, Logged, Span, slice_ends
from wire.ids import UnixMs

_SECOND_MS: Final = 1_000


class Log(Protocol):
    """What hubs have sent, as far back as it is kept. All may raise InfrastructureError."""

    async def oldest(self) -> int | None:
        """Return the oldest message there is; None if there is none."""
        ...

    async def tail(self) -> int:
        """Return one past the last message there is, or one that came meanwhile."""
        ...

    async def since(self, at_ms: UnixMs) -> int | None:
        """Return the first message that may be as young as an instant; None if all are older.

        Precise to a second: what is returned is never younger than the one asked for.
        """
        ...

    def read(self, first: int, end: int) -> AsyncGenerator[Sequence[Logged], None]:
        """Yield the messages ``[first, end)`` in order, each time what has come, never nothing.

        Raises:
            OperatorError: Some of them are not kept any longer.
        """
        ...


async def find_span(log: Log, from_ms: UnixMs, until_ms: UnixMs, now_ms: UnixMs) -> Span:
    """Return what was logged from an instant on, up to another one or what is there now.

    Args:
        log: Where.
        from_ms: Whole seconds count.
        until_ms: Not before ``from_ms``.
        now_ms: The present.

    Raises:
        OperatorError: The log was cut since: it says what is the oldest it still has.
        InfrastructureError: It cannot be asked just now.
    """
    oldest = await log.oldest()
    first = None if oldest is None else await log.since(from_ms)
    if oldest is None or first is None:
        return Span(0, 0, (), until_ms)
    # Rounded up: what the running second has brought already belongs to now.
    end = await log.since(UnixMs(-(-until_ms // _SECOND_MS) * _SECOND_MS))
    if end is None:
        end = await log.tail()
    if first == oldest and (oldest > 0 or until_ms - from_ms > SLICES_MAX * SLICE_MS):
        began_ms = await _oldest_ms(log, oldest, from_ms, now_ms)
        if oldest > 0 and began_ms >= from_ms + _SECOND_MS:
            raise OperatorError(
                f"the log was cut since {_iso(from_ms)}: the oldest it has is of {_iso(began_ms)}",
                hint=f"--from {_iso(began_ms)} replays what is left",
            )
        from_ms = began_ms
    marks = []
    for at_ms in slice_ends(from_ms, until_ms):
        mark = await log.since(at_ms)
        if mark is None or mark >= end:
            marks.append((end, at_ms))
            break
        marks.append((mark, at_ms))
    return Span(first, max(first, end), tuple(marks), until_ms)


async def _oldest_ms(log: Log, oldest: int, from_ms: UnixMs, now_ms: UnixMs) -> UnixMs:
    """Return the last second from which on the oldest message is still the first."""
    low_s, high_s = from_ms // _SECOND_MS, -(-now_ms // _SECOND_MS) + 1
    while high_s - low_s > 1:
        middle_s = (low_s + high_s) // 2
        found = await log.since(UnixMs(middle_s * _SECOND_MS))
        low_s, high_s = (middle_s, high_s) if found == oldest else (low_s, middle_s)
    return UnixMs(low_s * _SECOND_MS)


def _iso(at_ms: UnixMs) -> str:
    return f"{datetime.fromtimestamp(at_ms // _SECOND_MS, UTC):%Y-%m-%dT%H:%M:%SZ}"
