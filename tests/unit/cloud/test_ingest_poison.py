"""The worker and poison: everybody is answered, and nobody waits for the one that fails."""

from cloud.core.arrivals import Life
from tests.contract.test_letters_poison import Allergic, good, poison
from tests.support.builders import EPOCH, HUB
from tests.support.cloud import a_delivery
from tests.unit.cloud.test_ingest_worker import Broker, serve
from wire.control import decode_receipt

LIFE = Life(HUB, EPOCH)


async def test_a_worker_outlives_poison_and_answers_every_batch() -> None:
    broker = Broker(Allergic())
    await serve(broker, *(a_delivery(poison(n) if n in (2, 7) else good(n)) for n in range(10)))
    entry = broker.store.tables.ledger[LIFE]
    assert (entry.received, entry.refused) == (((0, 10),), ((2, 3), (7, 8)))
    told = [decode_receipt(body) for _, _, body in broker.told]
    assert {low for receipt in told for low, _ in receipt.refused} == {2, 7}
    await serve(broker, a_delivery(good(10)), a_delivery(poison(2)))
    assert len(broker.store.tables.readings) == 9
