"""What is to be broken: the stack, hubs behind links of their own, and sensors that keep count."""

import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headgate.prove.link import Link, linked
from headgate.stack.errors import StackError
from headgate.stack.network import free_port
from headgate.stack.process import Process, Program, run_once
from headgate.stack.programs import command, edge, environment
from headgate.stack.stack import Stack

INGEST_WORKERS: Final = 2
WINDOW_S: Final = 10
REGION: Final = "north"
DRAIN_WITHIN_S: Final = 90.0
_FIRST_SENSOR: Final = 1_000
_SENSORS_PER_FLEET_MAX: Final = 1_000_000
# So many sensors keep nothing: what a kill costs them is counted apart. None of a guest's, whose
# readings must be missed while it is shut out.
_FORGETFUL: Final = 0.1
_EVENT_EVERY_S: Final = 10  # of the sensors' own time
_EVENT_LASTS_S: Final = 10
_STATUS_WITHIN_S: Final = 30.0
_JUDGE_WITHIN_S: Final = 300.0
_DONE: Final = '{"done"'


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub on this machine.

    Attributes:
        name: Its id, and its agent's name in the stack.
        window_s: Length of its windows; 0 = it sends every reading.
        config: Its ``edge.toml``.
        links: The only ways it has to the broker, one a node.
        sensors_port: Where its sensors reach it.
        is_guest: Whether it is there to be thrown out, with sensors apart.
    """

    name: str
    window_s: int
    config: Path
    links: tuple[Link, ...]
    sensors_port: int
    is_guest: bool = False

    @property
    def fleet(self) -> tuple[int, bool]:
        """What hubs share whose sensors are judged together."""
        return self.window_s, self.is_guest


@dataclass(frozen=True, slots=True)
class Flood:
    """How much the sensors say.

    Attributes:
        seed: The same seed gives the same water.
        sensors: On each hub.
        rate: Readings a second on each hub; their own time runs a second a reading.
    """

    seed: int
    sensors: int
    rate: float

    def small(self) -> "Flood":
        """Return a quarter of it, of sensors of the same pace."""
        sensors = max(1, self.sensors // 4)
        return Flood(self.seed, sensors, self.rate * sensors / self.sensors)


class Fleet:
    """The sensors of some hubs that are judged alike, so that one judgement fits them all."""

    def __init__(self, stack: Stack, hubs: Sequence[Hub], flood: Flood, seconds: float) -> None:
        """Start them; they measure for at most ``seconds``."""
        self._stack, self._window_s, self.is_guest = stack, *hubs[0].fleet
        kind = "guest" if self.is_guest else f"window-{self._window_s}"
        self.ledger = stack.home.root / f"ledger-{kind}"
        brokers = [word for hub in hubs for word in ("--broker", _address(hub))]
        number = 2 if self.is_guest else bool(self._window_s)
        first = _FIRST_SENSOR + number * _SENSORS_PER_FLEET_MAX
        self.log = stack.home.logs / f"sensors-{kind}.log"
        self._process = Process(
            Program(
                name=f"sensors of {kind}",
                argv=command(
                    *("firmware_sim", "flood", *brokers, "--ledger", str(self.ledger)),
                    *("--first-sensor-id", str(first), "--sensors", str(flood.sensors)),
                    *("--rate", str(flood.rate), "--seconds", str(seconds)),
                    *(
                        "--seed",
                        str(flood.seed),
                        "--forgetful",
                        str(0 if self.is_guest else _FORGETFUL),
                    ),
                    *("--contaminate-every", str(_EVENT_EVERY_S)),
                    *("--contamination-seconds", str(_EVENT_LASTS_S)),
                    *("--drain-seconds", str(DRAIN_WITHIN_S)),
                ),
                env=environment(stack.home),
                log=self.log,
                is_ready=_at_once,
                stop_within_s=DRAIN_WITHIN_S + 10,
            )
        )

    async def stop(self) -> int:
        """Let the sensors measure no more and end once their hubs have everything on disk.

        Returns:
            How many readings they still held when time ran out.

        Raises:
            StackError: They failed.
        """
        status = await self._process.stop()
        said = self.log.read_text(errors="replace")
        done = [line for line in said.splitlines() if line.startswith(_DONE)]
        if status != 0 or not done:
            raise StackError(
                f"the simulated sensors ended with {status}:\n{said[-800:]}",
                hint=f"read {self.log}",
            )
        return int(json.loads(done[-1])["done"]["pending"])

    def kill(self) -> None:
        """End them at once. Idempotent."""
        if self._process.returncode is None:
            self._process.signal(signal.SIGKILL)
            self._process.stop_now()

    async def judge(self) -> dict[str, Any]:
        """Let the oracle compare what was sent with what is stored.

        Raises:
            StackError: It gave no verdict.
        """
        question = ("--ledger", str(self.ledger), "--window", str(self._window_s), "--json")
        said = await run_once(
            command("firmware_sim", "oracle", "--database", self._stack.database_url, *question),
            environment(self._stack.home),
            within_s=_JUDGE_WITHIN_S,
        )
        verdict: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
        return verdict


async def waiting(stack: Stack, hub: Hub) -> int:
    """Return how many readings and batches wait on a hub's disk, as the hub itself says.

    Raises:
        StackError: It does not say.
    """
    spool = await _spool(stack, hub)
    return spool["batches"] + spool["intake"]


async def held(stack: Stack, hub: Hub) -> int:
    """Return how many rows a hub holds, as it says itself; of one without windows, readings.

    Raises:
        StackError: It does not say.
    """
    spool = await _spool(stack, hub)
    return spool["rows"] + spool["intake"]


async def _spool(stack: Stack, hub: Hub) -> dict[str, int]:
    said = await run_once(
        command("edge_agent", "status", "--json", "--config", str(hub.config)),
        environment(stack.home),
        within_s=_STATUS_WITHIN_S,
    )
    spool: dict[str, int] = json.loads(said)
    return spool


@asynccontextmanager
async def started(stack: Stack, hubs: int) -> AsyncIterator[list[Hub]]:
    """Start the platform and hubs behind links of their own; every second hub has windows.

    Raises:
        StackError: Something could not be started; it says what to type.
    """
    async with AsyncExitStack() as exits:
        await exits.enter_async_context(stack)
        links = [await exits.enter_async_context(linked(stack.ports.mqtt)) for _ in range(hubs)]
        yield [
            await start_hub(stack, f"hub-{number + 1}", WINDOW_S * (number % 2), (way,))
            for number, way in enumerate(links)
        ]


async def start_hub(
    stack: Stack, name: str, window_s: int, ways: tuple[Link, ...], *, is_guest: bool = False
) -> Hub:
    """Enrol a hub and run its agent, which reaches the broker through these links only."""
    port = free_port(0)
    hub = Hub(
        name, window_s, await enrolled(stack, name, window_s, ways, port), ways, port, is_guest
    )
    log = stack.home.logs / f"edge-{name}.log"
    await stack.start(edge(name, hub.config, log, *(way.port for way in ways)))
    return hub


async def enrolled(
    stack: Stack, name: str, window_s: int, ways: Sequence[Link], sensors_port: int
) -> Path:
    """Let a hub in and return its ``edge.toml``. Idempotent."""
    return await stack.enrol_hub(
        name,
        REGION,
        window_s=window_s,
        uplink={"url": stack.uplink_url(*(way.port for way in ways))},
        sensors={"listen": f"127.0.0.1:{sensors_port}"},
    )


def _address(hub: Hub) -> str:
    return f"mqtt://127.0.0.1:{hub.sensors_port}"


async def _at_once(pid: int) -> bool:
    return True
