"""Hears alerts as a client does, beside a busy process: prints each sensor and when, Unix ns.

python -m benchmarks.storm_alerts http://127.0.0.1:8080
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import websockets


async def hear(api_url: str) -> None:
    """Print until killed."""
    async for socket in websockets.connect(f"{api_url.replace('http', 'ws', 1)}/api/ws/alerts"):
        with suppress(websockets.ConnectionClosed):
            async for message in socket:
                came_ns, told = time.time_ns(), json.loads(message)
                for alert in told.get("alerts", [told.get("alert", told)]):
                    print(alert["sensor_id"], came_ns, flush=True)


@asynccontextmanager
async def heard(api_url: str, tell: Callable[[int, int], None]) -> AsyncIterator[None]:
    """Hear them in a process of its own, which is gone at the end.

    Args:
        api_url: Of the platform.
        tell: Is told each sensor's id, and when its alert came, Unix ns.
    """
    ear = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "benchmarks.storm_alerts", api_url),
        stdout=asyncio.subprocess.PIPE,
    )
    assert ear.stdout is not None
    try:
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(_tell(ear.stdout, tell), name="alerts")
            yield
            telling.cancel()
    finally:
        with suppress(ProcessLookupError):
            ear.kill()
        await ear.wait()


async def _tell(lines: asyncio.StreamReader, tell: Callable[[int, int], None]) -> None:
    async for line in lines:
        sensor_id, came_ns = map(int, line.split())
        tell(sensor_id, came_ns)


if __name__ == "__main__":
    asyncio.run(hear(sys.argv[1]))
