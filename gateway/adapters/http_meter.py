"""The door's counters, for Prometheus."""

from typing import Final

from prometheus_client import Counter, Gauge

_ANSWERS: Final = Counter("gateway_http_answers", "Messages from sensors, by answer.", ["status"])
_READINGS: Final = Counter("gateway_http_readings", "Readings answered 202.")
_REFUSED: Final = Counter("gateway_http_refused_values", "Impossible values made absent.")
_ALONE: Final = Counter(
    "gateway_http_judged_alone", "Messages judged by one door's buckets, the shared ones away."
)
_HELD: Final = Gauge(
    "gateway_http_held_batches", "Batches without a receipt.", multiprocess_mode="livesum"
)
_BYTES: Final = Gauge(
    "gateway_http_held_bytes", "Bytes of batches without a receipt.", multiprocess_mode="livesum"
)


class PrometheusDoorMeter:
    """See ``gateway.ports.DoorMeter``."""

    def answered(self, answer: str) -> None:
        """See ``gateway.ports.DoorMeter``."""
        _ANSWERS.labels(answer).inc()

    def admitted(self, readings: int, refused_values: int) -> None:
        """See ``gateway.ports.DoorMeter``."""
        _READINGS.inc(readings)
        _REFUSED.inc(refused_values)

    def alone(self, messages: int) -> None:
        """See ``gateway.ports.DoorMeter``."""
        _ALONE.inc(messages)

    def held(self, batches: int, size: int) -> None:
        """See ``gateway.ports.DoorMeter``."""
        _HELD.set(batches)
        _BYTES.set(size)
