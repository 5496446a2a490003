"""Detection: a hub's readings against its bands and its sensors' own past become findings.

Event time decides. Readings later than a sensor's last evaluated instant move its live state on;
all others take the historical path, which has a state of its own and wakes nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cloud.core.detect_bands import BandBook, Healthy
from cloud.core.detect_calm import JUMP, TREMBLES, Groups, move_on, runs_of
from cloud.core.detect_rows import COLUMNS, REFUSED, Rows
from cloud.core.detect_series import Series, remember, runs, series, stand, toggles
from cloud.core.detect_state import NEVER, HubState, Open, Standing, Track
from water import rules
from water.bands import severity_of
from water.explain import NEIGHBOURS_MAX
from water.finding import ANY_METRIC, Cause, Finding
from wire.ids import SensorId, UnixMs
from wire.limits import FUTURE_MS_MAX
from wire.metric import COLUMNS as METRIC_COLUMNS

AHEAD_MS_MAX: Final = 3_600_000  # a state further ahead than this came from a clock gone wrong
PAST_GAP_MS_MAX: Final = 3_600_000  # late readings further apart do not belong together
NEIGHBOUR_MS_MAX: Final = 900_000
NAMES: Final = (*METRIC_COLUMNS, ANY_METRIC)

assert NAMES[REFUSED] == ANY_METRIC
assert len(NAMES) == COLUMNS


_CAUSES: Final = {
    Open.LOW: Cause.LOW,
    Open.HIGH: Cause.HIGH,
    Open.STUCK: Cause.STUCK,
    Open.SPIKE: Cause.SPIKE,
}


class Detector:
    """The state of one hub and the bands it is judged by."""

    def __init__(self, state: HubState, book: BandBook) -> None:
        """Take over a state; nobody else may touch it from now on."""
        self.state = state
        self._book = book
        self._healthy = book.healthy(state.sensor_ids)

    def judge_by(self, book: BandBook) -> None:
        """Use other bands from now on; what is open stays open until it is over by them."""
        if book is not self._book:
            self._book = book
            self._healthy = book.healthy(self.state.sensor_ids)

    def evaluate(self, rows: Rows, now_ms: UnixMs) -> list[Finding]:
        """Move the state on by some readings; return what they show, in order of time.

        Evaluating readings again changes no live state and finds nothing with a new id.

        Args:
            rows: As ``Rows`` says. Those further ahead of ``now_ms`` than a day are ignored, as
                the store refuses them.
            now_ms: Only to recognise clocks gone wrong.
        """
        rows = rows.where(rows.observed_at_ms <= now_ms + FUTURE_MS_MAX)
        if not len(rows):
            return []
        starts, lengths = runs_of(rows.sensor_ids)
        sensor_ids = rows.sensor_ids[starts]
        places = self.state.places(sensor_ids)
        if places is None:
            self.state.admit(sensor_ids)
            self._healthy = self._book.healthy(self.state.sensor_ids)
            places = np.searchsorted(self.state.sensor_ids, sensor_ids)
        groups = Groups(places, starts, lengths, len(rows))
        if self._in_order(rows, groups, now_ms):
            return in_order(self._live(rows, groups))
        place = groups.place
        late = rows.history | (rows.observed_at_ms <= self.state.live.last_ms[place])
        found = self._past(rows.where(late), place[late])
        if not late.all():
            found = self._live(rows.where(~late), Groups.of(place[~late])) + found
        return in_order(found)

    def _in_order(self, rows: Rows, groups: Groups, now_ms: UnixMs) -> bool:
        """Return whether all rows are live; forget sensors whose past is in the future."""
        if rows.history.any():
            return False
        live, first_ms = self.state.live, rows.observed_at_ms[groups.starts]
        far_ms = now_ms + AHEAD_MS_MAX
        ahead = (live.last_ms[groups.places] > far_ms) & (first_ms <= far_ms)
        if ahead.any():
            live.forget(groups.places[ahead])
        return bool((first_ms > live.last_ms[groups.places]).all())

    def _live(self, rows: Rows, groups: Groups) -> list[Finding]:
        state = self.state
        odd = move_on(state, rows, groups, self._healthy)
        found = []
        if odd is not None:
            some = np.flatnonzero(~np.isnan(odd).all(axis=0))
            place, at_ms = groups.place[some], rows.observed_at_ms[some]
            judged = _Judged(
                state.live, series(state.live, place, at_ms, odd[:, some]), self._healthy
            )
            judged.bands()
            judged.faults(state.standing)
            found = self._findings(judged, historical=False)
        state.live.last_ms[groups.places] = rows.observed_at_ms[groups.ends]
        return found

    def _past(self, rows: Rows, place: NDArray[np.intp]) -> list[Finding]:
        if not len(rows):
            return []
        past = self.state.past
        first = place != np.roll(place, 1)
        first[0] = True
        ago = rows.observed_at_ms - past.last_ms[place]
        broken = first & ((ago <= 0) | (ago > PAST_GAP_MS_MAX)) & (past.last_ms[place] != NEVER)
        past.forget(place[broken])
        judged = _Judged(past, series(past, place, rows.observed_at_ms, rows.values), self._healthy)
        judged.bands()
        ends = np.flatnonzero(np.diff(place, append=-1))
        past.last_ms[place[ends]] = rows.observed_at_ms[ends]
        return self._findings(judged, historical=True)

    def _findings(self, judged: "_Judged", *, historical: bool) -> list[Finding]:
        remember(judged.track, judged.seen)
        return [self._finding(judged, change, historical) for change in judged.changes]

    def _finding(self, judged: "_Judged", change: "_Change", historical: bool) -> Finding:
        seen, index = judged.seen, np.array([change.index])
        place, column = int(seen.place[change.group]), int(seen.column[change.group])
        sensor_id = SensorId(int(self.state.sensor_ids[place]))
        window, at_ms = seen.window(index)
        known = ~np.isnan(window[:, 0])
        cause = Cause.IMPOSSIBLE if column == REFUSED else _CAUSES[change.bit]
        observed_at_ms = UnixMs(int(at_ms[0, 0]))
        evidence: dict[str, Any] = {
            "sensor_id": sensor_id,
            "cause": str(cause),
            "metric": NAMES[column],
            "ended": change.ended,
            "historical": historical,
            "values": [exact(value) for value in window[known, 0]],
            "times_ms": at_ms[known, 0].tolist(),
            "rule": {"n": rules.N, "m": rules.M, **change.rule},
            "neighbours": self._neighbours(place, column, observed_at_ms),
        }
        severity = rules.FAULT_SEVERITY
        if change.bit & (Open.LOW | Open.HIGH):
            band = self._book.evidence(sensor_id, column)
            evidence["band"] = band
            edges = judged.edges(np.array([change.group]))
            severity = int(severity_of(band["severity"], window[: rules.M], *edges)[0])
        return Finding(
            sensor_id,
            cause,
            NAMES[column],
            observed_at_ms,
            severity,
            change.ended,
            historical,
            evidence,
        )

    def _neighbours(self, place: int, column: int, at_ms: UnixMs) -> list[dict[str, Any]]:
        """Return what the nearest sensors of this hub showed at about that time."""
        live = self.state.live
        values, times = live.values[column, -1], live.at_ms[column, -1]
        near = ~np.isnan(values) & (np.abs(times - at_ms) <= NEIGHBOUR_MS_MAX)
        near[place] = False
        if column == REFUSED:
            return []
        there = np.flatnonzero(near)
        there = there[np.argsort(np.abs(there - place), kind="stable")[:NEIGHBOURS_MAX]]
        return [
            {
                "sensor_id": int(self.state.sensor_ids[other]),
                "value": exact(values[other]),
                "at_ms": int(times[other]),
            }
            for other in sorted(there.tolist())
        ]


def in_order(found: list[Finding]) -> list[Finding]:
    """Return findings by time."""
    return sorted(found, key=lambda finding: (finding.observed_at_ms, finding.key))


def exact(value: Any) -> float:
    """Return the shortest number that is this NumPy number again."""
    text = str(value)
    return int(text) if text.isdigit() else float(text)


@dataclass(frozen=True, slots=True)
class _Change:
    """A cause that opened or closed at one value of a series."""

    index: int
    group: int
    bit: Open
    ended: bool
    rule: dict[str, float]


class _Judged:
    """Series under judgement: each rule adds what changed and marks it in the track."""

    def __init__(self, track: Track, seen: Series, healthy: Healthy) -> None:
        self.track, self.seen = track, seen
        self.changes: list[_Change] = []
        self._healthy = healthy
        self._opened = track.opened.reshape(-1)
        self._was_open = self._opened[seen.key]

    def edges(self, group: NDArray[np.intp]) -> tuple[NDArray[np.float32], ...]:
        """Return low, high and dead band of some series, by number."""
        healthy, key = self._healthy, self.seen.key[group]
        return tuple(
            edge.reshape(-1)[key] for edge in (healthy.low, healthy.high, healthy.dead_band)
        )

    def bands(self) -> None:
        """Judge by bands, both sides: contamination, or refused values."""
        seen = self.seen
        low, high = (
            np.repeat(edge.reshape(-1)[seen.key], seen.lengths)
            for edge in (self._healthy.low, self._healthy.high)
        )
        breach = (seen.value < low) | (seen.value > high)
        wanted = seen.any(breach) | (self._was_open & (Open.LOW | Open.HIGH) != 0)
        if not wanted.any():
            return
        chosen, group = seen.only(wanted)
        window, _ = seen.window(chosen)
        low, high, dead_band = self.edges(group)
        below, above = rules.outside(window, low, high)
        over, under = rules.inside(window, low, high, dead_band)
        self._toggle(Open.LOW, (chosen, group), below, over)
        self._toggle(Open.HIGH, (chosen, group), above, under)

    def faults(self, standing: Standing) -> None:
        """Judge the probes, and move their standing on."""
        self._stuck(standing)
        stand(standing, self.seen)
        self._spikes()

    def _stuck(self, standing: Standing) -> None:
        seen = self.seen
        may = standing.run.reshape(-1)[seen.key] + seen.lengths >= rules.FLAT_RUN_MIN
        may &= TREMBLES[seen.column]
        wanted = may | (self._was_open & Open.STUCK != 0)
        if not wanted.any():
            return
        chosen, group = seen.only(wanted)
        run, changes, pairs = runs(standing, seen, chosen, group)
        window, _ = seen.window(chosen)
        still = rules.stuck(run, changes, pairs)
        counts = {"run": run, "changes": changes, "pairs": pairs}
        self._toggle(Open.STUCK, (chosen, group), still, rules.moving(window), counts)

    def _spikes(self) -> None:
        seen = self.seen
        jump = JUMP[seen.column]
        jumped = np.abs(seen.value - seen.before()) > np.repeat(jump, seen.lengths)
        wanted = seen.any(jumped) | (self._was_open & Open.SPIKE != 0)
        if not wanted.any():
            return
        chosen, group = seen.only(wanted)
        window, at_ms = seen.window(chosen)
        spiky = rules.spikes(window, at_ms, jump[group])
        calm = rules.calm(window, at_ms, jump[group])
        self._toggle(Open.SPIKE, (chosen, group), spiky, calm, {"jump": jump[group]})

    def _toggle(
        self,
        bit: Open,
        values: tuple[NDArray[np.intp], NDArray[np.intp]],
        begins: NDArray[np.bool_],
        ends: NDArray[np.bool_],
        counts: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    ) -> None:
        chosen, group = values
        first = chosen == self.seen.starts[group]
        was_open = self._was_open[group] & bit != 0
        before, after = toggles(begins, ends & ~begins, first, was_open)
        for at in np.flatnonzero(before != after).tolist():
            rule = {name: exact(count[at]) for name, count in counts.items()}
            change = _Change(int(chosen[at]), int(group[at]), bit, bool(before[at]), rule)
            self.changes.append(change)
        last = np.roll(first, -1)
        key = self.seen.key[group[last]]
        self._opened[key] = (self._opened[key] & ~np.uint8(bit)) | (after[last] * np.uint8(bit))
