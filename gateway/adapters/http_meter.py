"""A door's counters, for Prometheus."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from wire.reading import SensorMessage


class PrometheusDoorMeter:
    """See ``gateway.ports.DoorMeter``. One a process."""

    def __init__(self, door: str = "http", registry: CollectorRegistry = REGISTRY) -> None:
        """Register everything once; ``door`` is in every name."""

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"gateway_{door}_{name}", what, labels, registry=registry)

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(
                f"gateway_{door}_{name}", what, registry=registry, multiprocess_mode="livesum"
            )

        self._answers = counter("answers", "Messages from sensors, by answer.", "status")
        self._readings = counter("readings", "Readings answered 202.")
        self._refused = counter("refused_values", "Impossible values made absent.")
        self._ignored = counter("ignored_fields", "Fields of messages that name nothing known.")
        self._alone = counter(
            "judged_alone", "Messages judged by one door's buckets, the shared ones away."
        )
        self._held = gauge("held_batches", "Batches without a receipt.")
        self._bytes = gauge("held_bytes", "Bytes of batches without a receipt.")

    def answered(self, answer: str) -> None:
        """See ``gateway.ports.DoorMeter``."""
        self._answers.labels(answer).inc()

    def admitted(self, message: SensorMessage) -> None:
        """See ``gateway.ports.DoorMeter``."""
        self._readings.inc(len(message.sensor_ids))
        self._refused.inc(int(message.refused_values.sum()))
        self._ignored.inc(message.ignored_fields)

    def alone(self, messages: int) -> None:
        """See ``gateway.ports.DoorMeter``."""
        self._alone.inc(messages)

    def held(self, batches: int, size: int) -> None:
        """See ``gateway.ports.DoorMeter``."""
        self._held.set(batches)
        self._bytes.set(size)
