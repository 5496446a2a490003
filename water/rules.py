"""The rules detection judges by, each over the last few instants of many series at once.

A *window* is float32 of shape ``(depth, n)``: row 0 the newest instant of ``n`` series, row 1 the
one before. NaN stands for an instant that never was; it satisfies nothing. Instants are distinct
and, within a series, only those at which the metric was measured. The same functions judge a
hub's whole batch and recompute one alert's explanation.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from wire.metric import METRICS, Metric

N: Final = 2  # of
M: Final = 3  # distinct instants begin a breach, and end it
DEPTH: Final = 5  # instants a window holds: three spikes' worth of triples

SPIKE_SPAN_MS_MAX: Final = 10_000  # a slower series cannot tell a spike from an event in the water
SPIKE_RETURN: Final = 0.25  # "straight back" = to within this part of the jump

FLAT_RUN_MIN: Final = 60  # equal values before a probe may be called stuck at all
FLAT_CHANGES_MIN: Final = 30  # changes seen before: a probe never seen to move cannot be judged
FLAT_ODDS: Final = 60.0  # ln(1 / probability) that a healthy probe stands still so long

FAULT_SEVERITY: Final = 2
IMPOSSIBLE_SEVERITY: Final = 2

# The jump no water makes and unmakes within SPIKE_SPAN_MS_MAX; infinite = never called a spike.
_JUMPS: Final = {
    Metric.PH: 1.0,
    Metric.TURBIDITY: 50.0,  # bubbles and leaves pass an optic in every river
    Metric.DISSOLVED_OXYGEN: 3.0,
    Metric.TEMPERATURE: 3.0,
    Metric.CONDUCTIVITY: 500.0,
    Metric.ORP: 150.0,
    Metric.FREE_CHLORINE: 1.0,
    Metric.CHLORINE_DIOXIDE: 0.5,
    Metric.NITRATE: 5.0,
}
JUMP: Final[NDArray[np.float32]] = np.array(
    [_JUMPS.get(metric, np.inf) for metric in Metric], np.float32
)
# A pump that rests and a tank that is full stand still as long as they like.
TREMBLES: Final[NDArray[np.bool_]] = np.array(
    [metric not in (Metric.FLOW, Metric.WATER_LEVEL) for metric in Metric]
)

Window = NDArray[np.float32]
Verdict = NDArray[np.bool_]

# Otherwise one window could begin and end a breach at once.
assert 2 * N > M
assert DEPTH >= M + 2
assert len(JUMP) == METRICS


def n_of_m(flags: Verdict) -> Verdict:
    """Return where at least ``N`` of the newest ``M`` rows hold."""
    held: Verdict = flags[:M].sum(axis=0, dtype=np.int8) >= N
    return held


def outside(window: Window, low: Window, high: Window) -> tuple[Verdict, Verdict]:
    """Return where N of M lie below ``low``, and above ``high``. The edges belong to the band."""
    return n_of_m(window[:M] < low), n_of_m(window[:M] > high)


def inside(window: Window, low: Window, high: Window, dead_band: Window) -> tuple[Verdict, Verdict]:
    """Return where N of M are back over ``low``, and under ``high``, by the dead band or more."""
    over, under = inner(low, high, dead_band)
    return n_of_m(window[:M] >= over), n_of_m(window[:M] <= under)


def inner(low: Window, high: Window, dead_band: Window) -> tuple[Window, Window]:
    """Return the edges a value must be back over, and back under, to count as inside again."""
    over = (low.astype(np.float64) + dead_band).astype(np.float32)
    under = (high.astype(np.float64) - dead_band).astype(np.float32)
    return over, under


def spikes(window: Window, at_ms: NDArray[np.int64], jump: Window) -> Verdict:
    """Return where the instant before the newest jumped away and the newest came straight back.

    Args:
        window: Depth >= 3.
        at_ms: Their times, same shape.
        jump: How far is a jump.
    """
    newest, middle, before = window[0], window[1], window[2]
    # As the smaller of two differences: a step that stays differs from one neighbour only.
    height = np.minimum(np.abs(middle - newest), np.abs(middle - before))
    returned = np.abs(newest - before) <= SPIKE_RETURN * height
    found: Verdict = (height > jump) & returned & (at_ms[0] - at_ms[2] < SPIKE_SPAN_MS_MAX)
    return found


def calm(window: Window, at_ms: NDArray[np.int64], jump: Window) -> Verdict:
    """Return where none of the last ``M`` instants completed a spike."""
    recent = spikes(window, at_ms, jump)
    for back in range(1, M):
        recent = recent | spikes(window[back:], at_ms[back:], jump)
    return ~recent


def stuck(run: NDArray[np.int32], changes: NDArray[np.int32], pairs: NDArray[np.int32]) -> Verdict:
    """Return where a probe known to tremble has stood still longer than its own steps explain.

    With ``p = changes / pairs`` the chance that two successive values differ, a healthy probe of
    that resolution stands still for ``FLAT_ODDS / p`` with probability ``exp(-FLAT_ODDS)``.
    Real water changes in bursts, so its quiet runs are longer than that: over 85 days of one-minute
    rows of a waterworks' two stations (GECCO 2017) odds of 20 found 3.5 probes stuck a day, 40
    found 0.8 and 60 find 0.3. A probe that always trembles is found as soon at 60 as at 20.

    ``pairs`` counts the run itself, so nothing is found before more than ``FLAT_ODDS`` changes were
    seen: a probe flat from birth is never found. Equal values alone do not tell it from a healthy
    one: lead, arsenic, phosphate or free chlorine at nought, below what a probe can resolve, stand
    still for good. The hub marks such readings with ``Quality.FLAT`` after two hours, for people
    who read the rows; the mark makes no finding.

    Args:
        run: Equal values up to and including the newest, >= 1.
        changes: Successive values that differed, ever.
        pairs: Successive values compared, ever.
    """
    long = (run >= FLAT_RUN_MIN) & (changes >= FLAT_CHANGES_MIN)
    found: Verdict = long & (run * changes.astype(np.float64) >= FLAT_ODDS * pairs)
    return found


def moving(window: Window) -> Verdict:
    """Return where N of the last M values differ from the one before them."""
    return n_of_m(np.abs(window[:M] - window[1 : M + 1]) > 0)
