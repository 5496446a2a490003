"""What must hold of a river that has become quiet, judged from what its sensors said.

Nothing here asks the product what it believes: sensors, disks and tables are compared.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud.core.arrivals import Life
from tests.support.river import BrokenLawError, Hub, River
from tests.support.sim_poison import POISONED
from water.finding import Cause
from wire import ranges
from wire.batch import Batch
from wire.batch import Kind as BatchKind
from wire.codec import decode
from wire.ids import BatchKey, Sequence
from wire.metric import RESOLUTION, SPECS, Metric
from wire.quality import Quality

_FLOW_ERROR: Final = float(RESOLUTION[Metric.FLOW]) / 2 + 1e-3


def check(river: River) -> None:
    """Hold a quiet river to every law.

    Raises:
        BrokenLawError: Names the first it breaks.
    """
    for hub in river.hubs:
        _intake(hub)
        _ledger(river, hub)
        _stored(river, hub)
        _evidence(river, hub)
    _refusals(river)
    _evaluation(river)
    _alerts(river)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenLawError(otherwise)


def _intake(hub: Hub) -> None:
    """What a hub took was said so, once; what it announced it had taken; what is kept, it took."""
    disk, script = hub.sim.disk, hub.script
    without_time: dict[float, int] = dict(Counter(script.timeless))
    for (sensor_id, at_ms), measured in disk.taken.items():
        flow = _flow(measured)
        if (sensor_id, at_ms) in script.flows:
            _require(flow == script.flows[sensor_id, at_ms], f"{sensor_id} never said {flow}")
        else:
            without_time[flow] = without_time.get(flow, 0) - 1
            # Without a time of its own a reading is at-least-once where a commit's answer was lost.
            once = without_time[flow] >= 0 or (disk.errors and flow in script.timeless)
            _require(bool(once), f"{sensor_id} never said {flow}, or once only")
    lost = hub.sim.port.announced - disk.taken.keys()
    _require(not lost, f"announced and not on disk: {sorted(lost)}")
    lost = script.kept - disk.taken.keys()
    _require(not lost, f"kept by their sensor and never taken: {sorted(lost)}")


def _ledger(river: River, hub: Hub) -> None:
    """Every sequence ever sealed has a fate, none is skipped, and nothing else has one."""
    sealed: dict[Life, int] = Counter(Life(*key[:2]) for key in hub.sim.disk.sealed)
    for life, count in sealed.items():
        numbers = {key.sequence for key in hub.sim.disk.sealed if key[:2] == life}
        _require(numbers == set(range(count)), f"{life} skipped a sequence: {sorted(numbers)}")
        entry = river.store.tables.ledger.get(life)
        received = entry.received if entry else ()
        _require(received == ((0, count),), f"{life} sealed {count}, received {received}")
        assert entry is not None
        _require(entry.next_sequence == count, f"{life} announced {entry.next_sequence}")
    for life, entry in river.store.tables.ledger.items():
        if life.hub_id == hub.sim.kind.hub_id and life not in sealed:
            _require(entry.next_sequence == 0, f"{life} never sealed anything")
            _require(not entry.received, f"{life} never sealed {entry.received}")
    _require(not hub.sim.disk.count("quarantine"), "a good batch is in quarantine")


def _stored(river: River, hub: Hub) -> None:
    """Per sensor, taken = stored + refused + shed, in readings and in what they measured."""
    taken: Counter[int] = Counter()
    flow: defaultdict[int, float] = defaultdict(float)
    for (sensor_id, _), measured in hub.sim.disk.taken.items():
        taken[sensor_id] += 1
        flow[sensor_id] += _flow(measured)
    kept: Counter[int] = Counter()
    for sensor_id, at_ms, value, samples, quality in _fates(river, hub):
        kept[sensor_id] += samples
        flow[sensor_id] -= value * samples
        if samples == 1 and not quality & Quality.SUMMARY and at_ms is not None:
            said = hub.script.flows.get((sensor_id, at_ms), value)
            _require(abs(said - value) <= _FLOW_ERROR, f"{sensor_id} said {said}, stored {value}")
    _require(kept == taken, f"taken {dict(taken)}, stored, refused or shed {dict(kept)}")
    for sensor_id, left in flow.items():
        _require(abs(left) <= taken[sensor_id] * _FLOW_ERROR, f"{sensor_id}: {left} m3/h too many")


def _fates(river: River, hub: Hub) -> Iterator[tuple[int, int | None, float, int, int]]:
    """Yield (sensor, time, flow, samples, quality) of every routine row that has a fate."""
    tables = river.store.tables
    own = {sensor_id for sensor_id, _ in hub.sim.disk.taken}
    for (sensor_id, at_ms), (values, quality, _, samples) in tables.readings.items():
        if sensor_id in own:
            yield sensor_id, at_ms, values[Metric.FLOW] or 0.0, samples, quality
    yield from _refused(river, hub)
    for lost in _shed(river, hub):
        if lost.seal.kind is BatchKind.ROUTINE:
            yield from _rows(lost, np.ones(len(lost), np.bool_))


def _shed(river: River, hub: Hub) -> Iterator[Batch]:
    """Yield every batch with rows that its hub lost on purpose, and said so."""
    sealed = hub.sim.disk.sealed
    for life, entry in river.store.tables.ledger.items():
        for key in (BatchKey(*life, Sequence(number)) for number in _each(entry.shed)):
            lost = decode(sealed[key][-1]) if key in sealed else None
            if isinstance(lost, Batch):
                yield lost


def _refused(river: River, hub: Hub) -> Iterator[tuple[int, int | None, float, int, int]]:
    for (sensor_id, at_ms), key in river.store.tables.refused:
        if key in hub.sim.disk.sealed:
            batch = decode(river.store.logged(key)[0].body)
            assert isinstance(batch, Batch)
            _require(sensor_id in hub.script.expired, f"a row of {sensor_id} is refused")
            row = (batch.sensor_ids == sensor_id) & (batch.observed_at_ms == at_ms)
            if batch.seal.kind is BatchKind.ROUTINE:
                yield next(_rows(batch, row))


def _rows(batch: Batch, which: NDArray[np.bool_]) -> Iterator[tuple[int, None, float, int, int]]:
    for at in np.flatnonzero(which).tolist():
        flow = float(batch.values[at, Metric.FLOW])
        yield int(batch.sensor_ids[at]), None, flow, int(batch.samples[at]), 0


def _evidence(river: River, hub: Hub) -> None:
    """Evidence is a copy of what was said."""
    for instant, (values, *_) in river.store.tables.evidence.items():
        if instant in hub.script.flows:
            said, copied = hub.script.flows[instant], values[Metric.FLOW]
            _require(copied is not None and abs(said - copied) <= _FLOW_ERROR, f"{instant}")
    strange = {
        sensor_id
        for sensor_id, at_ms in river.store.tables.evidence
        if not any((sensor_id, at_ms) in each.sim.disk.taken for each in river.hubs)
    }
    _require(not strange, f"evidence nobody took: {strange}")


def _refusals(river: River) -> None:
    """Exactly the poison is refused; nothing is settled twice, nothing contradicts."""
    tables, poisoned = river.store.tables, river.poisoned
    _require({key for key, _ in tables.dead} == {poisoned.key}, f"dead letters: {tables.dead}")
    entry = tables.ledger[Life(POISONED, poisoned.key.epoch)]
    _require((entry.received, entry.refused) == (((0, 1),), ((0, 1),)), f"poison: {entry}")
    _require(poisoned.spool.quarantine == [poisoned.key], "the poison is not in quarantine")
    twice = [key for key, contents in tables.log.items() if len(contents) > 1]
    _require(not twice, f"settled twice: {twice}")
    _require(not tables.conflicts, f"contradictions: {tables.conflicts}")
    _require(not river.store.owners, "a lock outlived its transaction")


def _evaluation(river: River) -> None:
    """What is evaluated was received; that everything received is evaluated made it quiet."""
    for (hub_id, epoch), evaluated in river.tables.evaluated.items():
        entry = river.store.tables.ledger.get(Life(hub_id, epoch))
        early = ranges.minus(evaluated, entry.received if entry else ())
        _require(not early, f"{hub_id} evaluated and never received: {early}")


def _alerts(river: River) -> None:
    """One alert for the contamination, unless it was shed on record; about the water no other."""
    tables = river.tables
    about_water = [a for a in tables.alerts.values() if a.kind == "contamination"]
    (hub,) = (hub for hub in river.hubs if hub.script.breach)
    assert hub.script.breach is not None
    sensor_id = hub.script.breach[0]
    if not about_water and any((lost.sensor_ids == sensor_id).any() for lost in _shed(river, hub)):
        return
    expected = (sensor_id, str(Cause.HIGH), SPECS[Metric.PH].column)
    _require({tuple(a.key) for a in about_water} == {expected}, f"alerts: {about_water}")
    # Seen out of order, its beginning may be history and its rest live: one alert of each, no more.
    of_each = Counter(alert.historical for alert in about_water)
    _require(max(of_each.values()) == 1, f"{len(about_water)} alerts for one contamination")
    still = [a for a in about_water if a.historical and a.resolved_observed_at_ms is None]
    _require(len(about_water) == 1 or not still, "two alerts open for one contamination")
    settled = Counter(_key(found.finding.key) for found in tables.findings.values())
    for alert in tables.alerts.values():
        _require(alert.findings <= settled[_key(alert.key)], f"{alert} has findings nobody found")


def _key(about: tuple[int, str, str]) -> tuple[int, str, str]:
    return about[0], str(about[1]), str(about[2])


def _flow(measured: bytes) -> float:
    return round(float(np.frombuffer(measured, "<f4")[Metric.FLOW]), 3)


def _each(those: ranges.Ranges) -> Iterator[int]:
    for low, high in those:
        yield from range(low, high)
