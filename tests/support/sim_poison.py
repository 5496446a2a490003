"""A hub whose only batch can never be read: its header holds, its rows cannot be."""

import numpy as np

from edge_agent.core.outbox import Outbox
from edge_agent.core.spooled import Urgency
from edge_agent.forward import Forward
from tests.support.builders import NOON, NORTH, a_batch, a_seal
from tests.support.cloud import STORE
from tests.support.sim_broker import Broker, HubUplink
from tests.support.sim_life import Process, Weather
from tests.support.uplink import MemoryStore, at_once
from tests.support.virtual_time import VirtualClock
from wire.codec import encode
from wire.control import Health
from wire.ids import Epoch, HubId

POISONED = HubId("hub-poisoned")


class PoisonedHub:
    """The real way up over a spool of one poisoned batch."""

    def __init__(self, weather: Weather, broker: Broker) -> None:
        self.weather, self.clock = weather, VirtualClock(NOON)
        self.spool = MemoryStore(Epoch(weather.dice.getrandbits(63)), POISONED)
        self.key = self.spool.seal()
        batch = a_batch(seal=a_seal(hub=POISONED, epoch=self.key.epoch), sensors=[5])
        object.__setattr__(batch, "samples", np.array([0], np.int32))
        self.spool.bodies[self.key] = Urgency.LIVE, encode(batch)
        self.uplink = HubUplink(broker, NORTH, POISONED)
        self.process = Process(POISONED, weather, self._live)

    @property
    def quiet(self) -> bool:
        """Whether its batch is out of the way."""
        return not self.spool.bodies

    async def _live(self) -> None:
        await Forward(
            store=self.spool,
            in_turn=at_once,
            uplink=self.uplink,
            outbox=Outbox(self.spool.epoch),
            store_id=STORE,
            report=self._report,
            heard_time=lambda cloud_ms: None,
            clock=self.clock,
            chance=self.weather.dice.random,
        ).run()

    async def _report(self) -> Health:
        return Health(True, "sim", ((self.spool.epoch, 1),), True, self.clock.now_ms())
