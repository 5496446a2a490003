"""How does it compare with what else a user would build, doing the same work on this machine?

Two hundred sensors send JSON, one reading a message, observed time advancing a second a reading,
until every reading is a committed row. In turn: a hub with its durable spool, broker, ingest and
the ledger; the literal design (POST -> FastAPI -> RabbitMQ -> Celery -> INSERT); mosquitto, paho
and INSERT; mosquitto and Node-RED. The same sensors, the same PostgreSQL, one after another, each
kept full for a while. The sensors' own CPU is reported apart.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from benchmarks.report import Figure, Report, options_of, run, tell
from benchmarks.rivals.contenders import HEADGATE, RIVALS
from benchmarks.rivals.installed import MissingError
from benchmarks.rivals.saturation import Saturation, saturated
from benchmarks.rivals.sensors import FIRST_SENSOR_ID, body
from edge_agent.core.framing import read_publish
from wire.reading import parse_sensor_message
from wire.topics import parse_sensor_data

SECONDS: Final = 30.0
RATE_MIN: Final = 10.0
CPU_SHARE_MAX: Final = 1 / 15
_PARSED: Final = 20_000


async def measure(seconds: float) -> Report:
    """Measure all that can be had here, one after another."""
    reached: dict[str, Saturation] = {}
    missing: dict[str, str] = {}
    for contender in (HEADGATE, *RIVALS):
        try:
            reached[contender.name] = await saturated(contender, seconds)
            tell(table({contender.name: reached[contender.name]})[-1])
        except MissingError as exc:
            missing[contender.name] = str(exc)
            tell(f"{contender.name}: not measured: {exc}")
    where = sensor_side(reached["headgate"], parsing_s())
    for line in (*table(reached), *(f"{part:>44} {cost:6.1f}" for part, cost in where.items())):
        tell(line)
    return Report(
        "rivals",
        figures(reached),
        {
            "seconds_each": seconds,
            "reached": {
                name: asdict(each) | {"cpu_s": round(each.cpu_s, 1)}
                for name, each in reached.items()
            },
            "sensor_side_cpu_s_per_million": where,
            "not_measured": missing,
        },
    )


def figures(reached: Mapping[str, Saturation]) -> list[Figure]:
    """Return targets and measured; a rival that could not be had is a target missed."""
    ours, literal = reached.get("headgate"), reached.get("literal")
    rate = cpu = None
    if ours and literal and literal.rows_per_s and literal.cpu_s:
        rate, cpu = ours.rows_per_s / literal.rows_per_s, ours.cpu_s / literal.cpu_s
    return [
        Figure("rows a second against the literal design", RATE_MIN, rate, ">="),
        Figure("CPU a row against the literal design", CPU_SHARE_MAX, cpu, "<="),
        Figure("readings not stored two minutes later", 0, ours.unstored if ours else None, "<="),
    ]


def table(reached: Mapping[str, Saturation]) -> list[str]:
    """Return the comparison for people."""
    lines = [f"{'':10} {'rows/s':>9} {'CPU-s/1M':>9} {'unstored':>8}  of which"]
    for name, each in reached.items():
        parts = ", ".join(f"{part} {cost:.0f}" for part, cost in each.cpu_s_per_million.items())
        lines.append(
            f"{name:10} {each.rows_per_s:9,.0f} {each.cpu_s:9.1f} {each.unstored:8,}  {parts}"
        )
    return lines


def sensor_side(ours: Saturation, parsing: float) -> dict[str, float]:
    """Return where our CPU goes, seconds a million readings, from the sensor on.

    Args:
        ours: What was measured.
        parsing: CPU seconds to read a million messages, measured alone.
    """
    costs, threads = ours.cpu_s_per_million, ours.hub_threads
    return {
        "sensors (the client's side, not counted)": ours.sensors_cpu_s_per_million,
        "hub: sockets, MQTT, uplink": round(threads["listening"] - parsing, 1),
        "hub: parse one JSON message a reading": round(parsing, 1),
        "hub: intake, batches, commit to the spool": threads["committing"],
        "broker": costs["gateway"],
        "ingest": costs["ingest"],
        "PostgreSQL": costs["postgres"],
    }


def parsing_s() -> float:
    """Return the CPU seconds it takes to read a million sensors' messages, packet to columns."""
    topic = f"sensors/{FIRST_SENSOR_ID}/data".encode()
    head = len(topic).to_bytes(2, "big") + topic + b"\0\1"
    packets = [head + body(FIRST_SENSOR_ID, 1_700_000_000, turn) for turn in range(256)]
    began = time.process_time()
    for turn in range(_PARSED):
        message = read_publish(0x32, packets[turn % len(packets)])
        parse_sensor_message(message.body, parse_sensor_data(message.topic))
    return (time.process_time() - began) * 1e6 / _PARSED


def main() -> int:
    """Measure and report."""
    parser = options_of("rivals", __doc__ or "")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each, at its saturation")
    asked = parser.parse_args()
    seconds = asked.seconds / 10 if asked.quick else asked.seconds
    return run(measure(seconds)).show(as_json=asked.json)


if __name__ == "__main__":
    raise SystemExit(main())
