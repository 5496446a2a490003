"""The trace command."""

from cloud.adapters.postgres.read_pool import read_pool
from cloud.adapters.postgres.trace import Tracer
from cloud.settings import Settings
from cloud.trace import as_json as written_as_json
from cloud.trace import as_object, as_text, asked_for
from wire.ids import SensorId


async def run_trace(settings: Settings, sensor: int, time: str, *, as_json: bool) -> str:
    """Return the trace of one reading.

    Raises:
        HeadgateError: The time says no instant, or the database is away.
    """
    first, last = asked_for(time)
    async with read_pool(settings.database_url, name="headgate-trace", connections_max=1) as pool:
        facts = await Tracer(pool).facts(SensorId(sensor), first, last)
    trace = as_object(SensorId(sensor), first, facts)
    return written_as_json(trace) if as_json else as_text(trace)
