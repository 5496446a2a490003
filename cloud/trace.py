"""``trace SENSOR TIME``: the hops of one reading, for a technician and for programs."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cloud.core.errors import OperatorError
from cloud.core.gaps import explain
from cloud.core.trace import Facts, judge
from cloud.core.views import Row, instant_of
from cloud.read.text import as_latest, dump, iso, iso_or_none
from wire.batch import Flag
from wire.ids import SensorId, UnixMs
from wire.limits import TIME_MS_MAX

_HINT: Final = "say 2026-11-20T12:00:00Z, or Unix milliseconds"


def asked_for(text: str) -> tuple[datetime, datetime]:
    """Return the first and last instant meant: a whole second if no fraction is given.

    Raises:
        OperatorError: It is no instant, or does not say its offset from UTC.
    """
    if text.isdigit():
        if int(text) > TIME_MS_MAX:
            raise OperatorError(f"{text} is no time", hint=_HINT)
        first = instant_of(UnixMs(int(text)))
        return first, first
    try:
        first = datetime.fromisoformat(text)
    except ValueError as exc:
        raise OperatorError(f"{text!r} is no time", hint=_HINT) from exc
    if first.tzinfo is None:
        raise OperatorError(f"{text!r} does not say its offset from UTC", hint=_HINT)
    span = timedelta(0) if "." in text else timedelta(microseconds=999_999)
    return first.astimezone(UTC), first.astimezone(UTC) + span


def as_object(sensor_id: SensorId, first: datetime, facts: Facts) -> dict[str, Any]:
    """Return the trace as JSON objects."""
    verdict, why = judge(facts, first)
    sensor = facts.sensor or {}
    return {
        "sensor_id": str(sensor_id),
        "time": iso(first),
        "verdict": verdict,
        "why": why,
        "hub_id": sensor.get("hub_id"),
        "region": sensor.get("region"),
        "site": sensor.get("site"),
        "reading": None if facts.row is None else as_latest(facts.row),
        "evidence": facts.evidence,
        "batches": [_batch(batch) for batch in facts.carriers if facts.row is not None],
        "tombstones": [_batch(lost) | {"reason": lost["reason"]} for lost in facts.tombstones],
        "refused": [_fate(row, "refused_at") for row in facts.refused],
        "conflicts": [_fate(row, "found_at") for row in facts.conflicts],
        "findings": [_finding(row) for row in facts.findings],
        "gaps": [
            {"epoch": str(hole.epoch), "from_sequence": low, "to_sequence": high, "cause": cause}
            for hole in facts.holes
            for low, high, cause in explain(hole)
        ],
    }


def as_json(trace: dict[str, Any]) -> str:
    """Return one line of JSON."""
    return dump(trace).decode()


def as_text(trace: dict[str, Any]) -> str:
    """Return the trace for a technician's eyes."""
    return "\n".join(_lines(trace))


def _lines(trace: dict[str, Any]) -> Iterator[str]:
    yield f"sensor {trace['sensor_id']} at {trace['time']}: {trace['verdict']}"
    yield f"  {trace['why']}"
    if trace["hub_id"]:
        yield f"  spoken for by {trace['hub_id']} in {trace['region']}"
    yield from _way(trace)
    yield from _refusals(trace)
    for finding in trace["findings"]:
        yield _hop("finding", finding["found_at"], f"{finding['cause']} of {finding['metric']}")
        if finding["alert_id"]:
            yield _hop("alert", finding["opened_at"], f"alert {finding['alert_id']}")


def _way(trace: dict[str, Any]) -> Iterator[str]:
    """Yield the hops of a reading that is stored."""
    if reading := trace["reading"]:
        yield _hop("observed", reading["timestamp"], ", ".join(_said(reading)))
    if len(trace["batches"]) > 1:
        yield f"  carried by one of these {len(trace['batches'])} batches:"
    for batch in trace["batches"]:
        yield _hop("received", batch["received_at"], " ".join((_key(batch), *batch["flags"])))
        yield _hop("stored", batch["stored_at"], f"receipt: {batch['receipt']}")
        yield _hop("evaluated", "", "by detection" if batch["evaluated"] else "not yet")


def _said(reading: dict[str, Any]) -> Iterator[str]:
    """Yield what was measured, zero included, then the reading's marks, score and samples."""
    for name, value in reading.items():
        if name == "quality":
            yield from value
        elif name != "timestamp" and value is not None:
            yield f"{name} {value}"


def _refusals(trace: dict[str, Any]) -> Iterator[str]:
    """Yield what keeps, or may keep, the reading out of the store."""
    for tomb in trace["tombstones"]:
        yield _hop(
            "shed", tomb["stored_at"], f"{_key(tomb)}, {tomb['rows']} rows: {tomb['reason']}"
        )
    for row in trace["refused"]:
        yield _hop("refused", row["at"], f"{_key(row)}: {row['reason']}")
    for row in trace["conflicts"]:
        yield _hop("conflict", row["at"], f"{_key(row)} said another value; the first is kept")
    for gap in [] if trace["reading"] else trace["gaps"]:
        span = f"epoch {gap['epoch']} [{gap['from_sequence']}, {gap['to_sequence']})"
        yield _hop("gap", "", f"{span}: {gap['cause']}")


def _hop(name: str, at: str, note: str) -> str:
    return f"  {name:<10}{at:<26}{note}".rstrip()


def _key(batch: dict[str, Any]) -> str:
    return f"epoch {batch['epoch']} sequence {batch['sequence']}"


def _batch(row: Row) -> dict[str, Any]:
    receipt = "refused" if row["refused"] else "received" if row["received"] else "not yet"
    return {
        "epoch": str(row["epoch"]),
        "sequence": row["sequence"],
        "rows": row["rows"],
        "flags": [str(flag.name).lower() for flag in Flag if flag and flag in Flag(row["flags"])],
        "observed_from": iso(row["observed_from"]),
        "observed_to": iso(row["observed_to"]),
        "received_at": iso(row["received_at"]),
        "stored_at": iso(row["stored_at"]),
        "receipt": receipt,
        "evaluated": row["evaluated"],
    }


def _fate(row: Row, at: str) -> dict[str, Any]:
    return {
        "hub_id": row["hub_id"],
        "epoch": str(row["epoch"]),
        "sequence": row["sequence"],
        "timestamp": iso(row["timestamp"]),
        "reason": row.get("reason"),
        "at": iso(row[at]),
    }


def _finding(row: Row) -> dict[str, Any]:
    return {
        "finding_id": str(row["finding_id"]),
        "cause": row["cause"],
        "metric": row["metric"],
        "severity": row["severity"],
        "ended": row["ended"],
        "found_at": iso(row["found_at"]),
        "alert_id": None if row["alert_id"] is None else str(row["alert_id"]),
        "opened_at": iso_or_none(row["opened_at"]),
        "resolved_at": iso_or_none(row["resolved_at"]),
    }
