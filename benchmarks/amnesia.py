"""Does a broker that forgets everything cost a reading? A mosquitto without persistence says.

python -m benchmarks.amnesia [--seconds 60] [--seed 1] [--hubs 3] [--sensors 20] [--json]
The whole platform and real hubs stand at one mosquitto that keeps nothing on disk and is killed
every few seconds: sessions, queued batches, retained words, all gone each time, whoever had been
told that the broker has them. Then the oracle compares what sensors sent with what is stored.
The last line is its verdict as JSON; exit status 1 unless nothing was lost.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.proof import Tell, shown
from headgate.prove.account import Account, account
from headgate.prove.prove import Wish, drained, sensors
from headgate.prove.river import INGEST_WORKERS, Flood, started
from headgate.prove.settle import settle
from headgate.prove.witness import Witness
from headgate.stack.enrolment import enrol_stages
from headgate.stack.network import listens
from headgate.stack.process import Program
from headgate.stack.stack import Stack
from tests.support.servers import server
from tests.support.wait import until

BROKER: Final = "mosquitto"
LIVES_S: Final = (2.0, 6.0)
RATE_PER_SENSOR: Final = 10.0
_BACK_WITHIN_S: Final = 30.0
_CONF: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
user root
"""


class Forgetful(Stack):
    """The platform at a mosquitto that keeps nothing."""

    async def _start_broker(self) -> None:
        await enrol_stages(self.home)
        await self.start(_mosquitto(self.home.root, self.ports.mqtt))


def _mosquitto(folder: Path, port: int) -> Program:
    found, conf = server("mosquitto"), folder / "mosquitto.conf"
    conf.write_text(_CONF.format(port=port))

    async def ready(pid: int) -> bool:
        return listens(pid, port)

    return Program(
        name=BROKER,
        argv=(str(found.program), "-c", str(conf)),
        env=found.env,
        log=folder / "mosquitto.log",
        is_ready=ready,
        carries_others=True,
    )


async def prove(wish: Wish, home: Path, tell: Tell) -> Account:
    """Return the account of a run whose data lie in ``home``, an empty folder.

    Raises:
        StackError: Something could not be started; it says what to type.
    """
    stack = Forgetful(home, ingest_workers=INGEST_WORKERS, any_ports=True)
    async with started(stack, wish.hubs) as hubs:
        witness = Witness(stack.database_url)
        try:
            async with sensors(stack, hubs, wish, _BACK_WITHIN_S) as fleets:
                deaths = await _strike(stack, wish.seconds, Random(wish.flood.seed), tell)
                unsettled = await drained(fleets)
            unsettled += await settle(stack, hubs, witness)
            verdicts = [await fleet.judge() for fleet in fleets]
        finally:
            witness.leave()
    if not deaths:
        unsettled.append("the broker never forgot")
    told = account(wish.flood.seed, verdicts, (), unsettled)
    return told | {"kills": {BROKER: deaths}}


async def _strike(stack: Stack, seconds: float, random: Random, tell: Tell) -> int:
    """Kill the broker again and again; return how often, with a broker that runs."""
    ends_s, deaths = time.monotonic() + seconds, 0
    while (left_s := ends_s - time.monotonic()) > 0:
        await asyncio.sleep(min(random.uniform(*LIVES_S), left_s))
        await _serves_again(stack, stack.kill(BROKER))
        deaths += 1
        tell(f"{seconds - left_s:6.1f} s  death {deaths}")
    return deaths


async def _serves_again(stack: Stack, killed: int) -> None:
    def serves() -> bool:
        return stack.processes.get(BROKER) not in (None, killed) and stack.serves(BROKER)

    await until(serves, within_s=_BACK_WITHIN_S)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="amnesia", description="a broker that forgets")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hubs", type=int, default=3)
    parser.add_argument("--sensors", type=int, default=20, help="on each hub")
    parser.add_argument("--json", action="store_true", help="print the last line only")
    asked = parser.parse_args(arguments)
    flood = Flood(asked.seed, asked.sensors, asked.sensors * RATE_PER_SENSOR)
    wish = Wish(asked.seconds, asked.hubs, flood)
    return shown("amnesia", lambda home, tell: prove(wish, home, tell), as_json=asked.json)


if __name__ == "__main__":
    raise SystemExit(main())
