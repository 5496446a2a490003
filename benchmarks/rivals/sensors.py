"""Two hundred sensors on raw sockets: MQTT QoS 1, or one HTTP POST a reading.

As lean as Python allows, so that what is measured is whoever listens. Observed time advances a
second a reading. Standard input says how many readings may have been sent so far, a line at a
time: whoever measures keeps the pipeline full without burying it. At its end the totals are
printed as one JSON line.
"""

import argparse
import asyncio
import json
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

FIRST_SENSOR_ID: Final = 5_000
STARTED_S_AGO: Final = 6 * 3_600
IN_FLIGHT: Final = 8
_KEEP_ALIVE_S: Final = 600
_CONNACK, _PUBACK = 0x20, 0x40
_VALUES: Final = tuple(
    b'"pH":%.2f,"temp":%.1f,"turbidity":%.3f,"conductivity":%.1f'
    % (7.2 + step % 16 / 100, 8.0 + step % 32 / 10, 0.012 + step % 8 / 500, 205 + step % 64 / 8)
    for step in range(64)
)


@dataclass(slots=True)
class Fleet:
    """What all sensors share.

    Attributes:
        start_s: Observed time of everyone's first reading, Unix seconds.
        allowed: How many readings may have been sent.
        sent: How many have been.
        acknowledged: How many the next hop has said it took.
        sensors: All of them.
    """

    start_s: int
    allowed: int = 0
    sent: int = 0
    acknowledged: int = 0
    sensors: list["Sensor"] = field(default_factory=list)

    def allow(self, readings: int) -> None:
        """Let so many be sent in all."""
        self.allowed = max(self.allowed, readings)
        for sensor in self.sensors:
            sensor.go_on()


class Sensor(asyncio.Protocol, ABC):
    """One sensor on a connection of its own."""

    in_flight_max: int

    def __init__(self, fleet: Fleet, sensor_id: int) -> None:
        """Take who it is."""
        self.fleet, self.sensor_id = fleet, sensor_id
        self.turn = self.in_flight = 0
        self.ready = False
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.greet(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop for good: a measurement cannot go on without a sensor."""
        self.ready = False

    def go_on(self) -> None:
        """Send as much as may be on its way."""
        out, fleet = [], self.fleet
        while self.ready and self.in_flight < self.in_flight_max and fleet.sent < fleet.allowed:
            out.append(self.packet(body(self.sensor_id, fleet.start_s, self.turn)))
            self.turn += 1
            self.in_flight += 1
            fleet.sent += 1
        if out and self.transport is not None:
            self.transport.write(b"".join(out))

    def took(self, readings: int) -> None:
        """Note that the next hop has so many more."""
        self.in_flight -= readings
        self.fleet.acknowledged += readings
        self.go_on()

    @abstractmethod
    def greet(self, transport: asyncio.Transport) -> None:
        """Say hello."""

    @abstractmethod
    def packet(self, reading: bytes) -> bytes:
        """Return a reading as it travels."""


class MqttSensor(Sensor):
    """MQTT 3.1.1, QoS 1, some in flight."""

    in_flight_max = IN_FLIGHT

    def greet(self, transport: asyncio.Transport) -> None:
        """Connect."""
        client = b"rival-%d" % self.sensor_id
        body = b"\0\4MQTT\4\2" + _KEEP_ALIVE_S.to_bytes(2, "big") + _text(client)
        transport.write(b"\x10" + _length(len(body)) + body)

    def packet(self, reading: bytes) -> bytes:
        """Return a PUBLISH."""
        rest = _topic(self.sensor_id) + (self.turn % 65_535 + 1).to_bytes(2, "big") + reading
        return b"\x32" + _length(len(rest)) + rest

    def data_received(self, data: bytes) -> None:
        """Count answers: each that can come is four bytes long."""
        data = self.buffer + data
        whole = len(data) // 4 * 4
        self.buffer = data[whole:]
        kinds = data[:whole:4]
        if kinds.count(_CONNACK):
            self.ready = data[3] == 0
            self.go_on()
        if taken := kinds.count(_PUBACK):
            self.took(taken)


class HttpSensor(Sensor):
    """HTTP/1.1, one POST at a time on a connection that stays."""

    in_flight_max = 1
    path = "/api/sensors/data"

    def greet(self, transport: asyncio.Transport) -> None:
        """Begin at once."""
        self.ready = True
        self.go_on()

    def packet(self, reading: bytes) -> bytes:
        """Return a POST."""
        return (
            b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (self.path.encode(), len(reading), reading)
        )

    def data_received(self, data: bytes) -> None:
        """Take an answer once it is whole.

        Raises:
            ValueError: It says no.
        """
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 2"):
            raise ValueError(head[:80].decode(errors="replace"))
        if len(rest) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            self.buffer = b""
            self.took(1)


KINDS: Final = {"mqtt": MqttSensor, "http": HttpSensor}


def body(sensor_id: int, start_s: int, turn: int) -> bytes:
    """Return the JSON of a sensor's reading number ``turn``, a second after the one before."""
    values = _VALUES[(sensor_id * 7 + turn) % len(_VALUES)]
    return b'{"sensor_id":%d,%b,"timestamp":"%b"}' % (sensor_id, values, _instant(start_s + turn))


@lru_cache(maxsize=4_096)
def _instant(at_s: int) -> bytes:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


@lru_cache(maxsize=4_096)
def _topic(sensor_id: int) -> bytes:
    return _text(b"sensors/%d/data" % sensor_id)


def _text(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def _length(length: int) -> bytes:
    """Return a length as MQTT spells it, up to 16 KiB."""
    return bytes([length]) if length < 128 else bytes([length % 128 | 128, length // 128])


async def run(kind: str, port: int, sensors: int) -> Fleet:
    """Send as told on standard input, to its end."""
    loop, fleet = asyncio.get_running_loop(), Fleet(int(time.time()) - STARTED_S_AGO)
    for number in range(sensors):
        sensor = KINDS[kind](fleet, FIRST_SENSOR_ID + number)
        await loop.create_connection(lambda each=sensor: each, "127.0.0.1", port)  # type: ignore[misc]
        fleet.sensors.append(sensor)
    told = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    while line := await told.readline():
        fleet.allow(int(line))
        sys.stdout.write(f"{fleet.sent} {fleet.acknowledged}\n")
        sys.stdout.flush()
    return fleet


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("port", type=int)
    parser.add_argument("--sensors", type=int, default=200)
    asked = parser.parse_args()
    fleet = asyncio.run(run(asked.kind, asked.port, asked.sensors))
    print(json.dumps({"sent": fleet.sent, "acknowledged": fleet.acknowledged}))


if __name__ == "__main__":
    main()
