"""The sensors of one hub: what they say, and how they keep it until it is committed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from firmware_sim.core.message import messages
from firmware_sim.core.pending import Pending, ResendPolicy
from firmware_sim.core.readings import Readings, readings
from tests.support.sim_hub import Port
from tests.support.sim_life import Weather
from wire.metric import METRICS, Metric

_POLICY = ResendPolicy(after_ms=3_000)
_LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class Said:
    """Readings of one sensor, to be said at one moment."""

    at_s: float
    readings: Readings


@dataclass(frozen=True, slots=True)
class Timeless:
    """One reading of a sensor without a clock: it says it once and forgets it."""

    at_s: float
    sensor_id: int
    flow: float


def some(
    sensor_id: int, at_ms: Sequence[int], ph: Sequence[float], flow: Sequence[float], *, kept: bool
) -> Readings:
    """Return readings of pH and flow."""
    values = np.full((len(at_ms), METRICS), np.nan)
    values[:, Metric.PH], values[:, Metric.FLOW] = ph, flow
    made = readings(np.full(len(at_ms), sensor_id, np.int64), np.array(at_ms, np.int64), values)
    return replace(made, kept=np.full(len(at_ms), kept))


class SimSensors:
    """All sensors of a hub, over one connection: in order, doubled at times, never reordered."""

    def __init__(self, port: Port, weather: Weather, script: Sequence[Said | Timeless]) -> None:
        self._port, self._weather = port, weather
        self._script = sorted(script, key=lambda said: said.at_s)
        self._pending = Pending(_POLICY)
        self.finished = False

    @property
    def quiet(self) -> bool:
        """Whether everything is said and nothing is kept."""
        return self.finished and not len(self._pending)

    async def speak(self) -> None:
        """Say the script."""
        loop = asyncio.get_running_loop()
        rows = 0
        for said in self._script:
            await asyncio.sleep(max(0.0, said.at_s - loop.time()))
            if isinstance(said, Timeless):
                if self._port.is_open:
                    body = f'{{"sensor_id":{said.sensor_id},"flow":{said.flow!r}}}'.encode()
                    await self._port.bring(said.sensor_id, (), body)
                continue
            count = len(said.readings)
            self._pending.add(said.readings, np.arange(rows, rows + count))
            rows += count
            self._port.changed.set()
        self.finished = True

    async def converse(self) -> None:
        """Send what is due, forget what is committed; after a break begin at the oldest again."""
        loop, port, session = asyncio.get_running_loop(), self._port, -1
        while True:
            port.changed.clear()
            if port.is_open:
                if session != port.session:
                    session = port.session
                    port.statuses.clear()
                    self._pending.rewind()
                through: dict[int, int] = {}
                for sensor_id, at_ms in port.statuses:
                    through[sensor_id] = max(at_ms, through.get(sensor_id, -1))
                port.statuses.clear()
                self._pending.commit(through)
                taken, _ = self._pending.take(round(loop.time() * 1_000), 1_000)
                if len(taken):
                    await self._send(taken, session)
                    continue
            look_again = loop.call_later(_LOOK_S, port.changed.set)
            await port.changed.wait()
            look_again.cancel()

    async def _send(self, taken: Readings, session: int) -> None:
        weather = self._weather
        times: dict[int, list[int]] = {}
        pairs = zip(taken.sensor_ids.tolist(), taken.observed_at_ms.tolist(), strict=True)
        for sensor_id, at_ms in pairs:
            times.setdefault(sensor_id, []).append(at_ms)
        for sensor_id, body in messages(taken):
            await asyncio.sleep(weather.delay_s() / 8)
            for _ in range(2 if weather.strikes(weather.faults.double) else 1):
                if not self._port.is_open or self._port.session != session:
                    return
                await self._port.bring(sensor_id, times[sensor_id], body)
