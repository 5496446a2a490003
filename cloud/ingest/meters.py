"""What operators see of ingest: one process's share, added up where metrics are scraped."""

from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from cloud.core.outcome import Outcome
from wire.ids import UnixMs

_ROWS: Final = (1, 10, 100, 1_000, 10_000, 50_000, 100_000, 200_000, 500_000)
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Meters:
    """Counters and gauges of the stage. One per process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Register everything once."""

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"headgate_ingest_{name}", what, labels, registry=registry)

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(
                f"headgate_ingest_{name}", what, registry=registry, multiprocess_mode="livemax"
            )

        def histogram(name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"headgate_ingest_{name}", what, buckets=buckets, registry=registry)

        self._rows = counter("rows", "Rows stored", "kind")
        self._bytes = counter("bytes", "Bytes on the wire of the routine batches stored")
        self._batches = counter("batches", "Batches by fate", "fate")
        self._refused = counter("refused_rows", "Rows refused", "reason")
        self._duplicates = counter("duplicate_rows", "Rows that said again what was stored")
        self._conflicts = counter("conflicts", "Rows that contradict a stored one")
        self._shed = counter("shed_batches", "Batches lost on purpose")
        self._rebuilt = counter("rebuilt_flushes", "Flushes begun again inside a transaction")
        self._failed = counter("failed_flushes", "Flushes an infrastructure failure cost")
        self._dropped = counter("dropped_messages", "Messages that found no room; they come again")
        self._flush_rows = histogram("flush_rows", "Rows in a flush", _ROWS)
        self._flush_seconds = histogram("flush_seconds", "Seconds of a transaction", _SECONDS)
        self._lag = gauge("lag_seconds", "Stored minus observed, of the newest row of a flush")
        self._oldest = gauge("oldest_age_seconds", "Stored minus received, of the oldest message")
        self._waiting = gauge("inbox_bytes", "Bytes waiting to be decoded")

    def stored(self, done: Outcome, took_s: float, oldest_age_s: float, now_ms: UnixMs) -> None:
        """Count a committed flush."""
        self._rows.labels("routine").inc(done.rows)
        self._rows.labels("evidence").inc(done.evidence)
        self._bytes.inc(done.bytes)
        for fate, batches in done.batches.items():
            self._batches.labels(fate).inc(max(batches, 0))
        for reason, rows in done.refused_rows.items():
            self._refused.labels(reason).inc(rows)
        self._duplicates.inc(done.duplicate_rows)
        self._conflicts.inc(done.conflicts)
        self._shed.inc(done.shed)
        self._rebuilt.inc(done.rebuilt)
        self._flush_rows.observe(done.rows)
        self._flush_seconds.observe(took_s)
        self._oldest.set(oldest_age_s)
        if done.fresh is not None and len(done.fresh):
            self._lag.set((now_ms - int(done.fresh.observed_at_ms.max())) / 1_000)

    def failed(self) -> None:
        """Count a flush that has to be tried again."""
        self._failed.inc()

    def inbox(self, waiting_bytes: int, dropped: int) -> None:
        """Show what waits, and count what found no room since the last call."""
        self._waiting.set(waiting_bytes)
        self._dropped.inc(dropped)
