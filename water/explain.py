"""Explanations: evidence as a sentence for people, and evidence back into the finding."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from water import rules
from water.bands import severity_of
from water.finding import ANY_METRIC, Cause, Finding
from wire.ids import SensorId, UnixMs
from wire.metric import BY_NAME, SPECS, Metric

NEIGHBOURS_MAX: Final = 4
_UNITS: Final = {"[pH]": "", "{NTU}": " NTU", "Cel": " °C", "uS/cm": " µS/cm", "ug/L": " µg/L"}


def recompute(evidence: dict[str, Any]) -> Finding | None:
    """Return the finding this evidence shows, or None if it shows none.

    Args:
        evidence: As ``Finding.evidence``; keys beyond those the rule needs are ignored.

    Raises:
        KeyError: It is no evidence.
    """
    cause = Cause(evidence["cause"])
    holds, severity = _verdict(evidence, cause)
    if not holds[0]:
        return None
    return Finding(
        SensorId(evidence["sensor_id"]),
        cause,
        evidence["metric"],
        UnixMs(evidence["times_ms"][0]),
        severity,
        evidence["ended"],
        evidence["historical"],
        evidence,
    )


def sentence(evidence: dict[str, Any]) -> str:
    """Return the evidence in words: value against band, N of M, neighbours."""
    cause, metric, rule = Cause(evidence["cause"]), evidence["metric"], evidence["rule"]
    if evidence["ended"]:
        said = f"{cause.replace('_', ' ')} is over"
        return f"{_newest(evidence)}: {said} in {rule['n']} of {rule['m']} readings"
    match cause:
        case Cause.LOW | Cause.HIGH:
            said = _against_band(evidence, cause)
        case Cause.IMPOSSIBLE:
            said = f"physically impossible values in {rule['n']} of {rule['m']} readings"
        case Cause.SPIKE:
            jumped = f"{_name(metric)} jumped to {_value(metric, evidence['values'][1])}"
            said = f"{jumped} and came straight back: the probe, not the water"
        case _:
            said = f"{_newest(evidence)} has not moved in {rule['run']} readings: a stuck probe"
    return f"{said}{_neighbours(metric, evidence['neighbours'])}"


def _verdict(evidence: dict[str, Any], cause: Cause) -> tuple[rules.Verdict, int]:
    window, at_ms = _window(evidence)
    rule, ended = evidence["rule"], evidence["ended"]
    if cause is Cause.SPIKE:
        judge = rules.calm if ended else rules.spikes
        return judge(window, at_ms, _one(rule["jump"])), rules.FAULT_SEVERITY
    if cause is Cause.STUCK:
        counts = (np.array([rule[name]], np.int32) for name in ("run", "changes", "pairs"))
        holds = rules.moving(window) if ended else rules.stuck(*counts)
        return holds, rules.FAULT_SEVERITY
    band = evidence["band"]
    low = _one(-np.inf if band["low"] is None else band["low"])
    high = _one(np.inf if band["high"] is None else band["high"])
    dead_band = _one(band["dead_band"])
    worst = severity_of(band["severity"], window[: rules.M], low, high, dead_band)
    if ended:
        below, above = rules.inside(window, low, high, dead_band)
    else:
        below, above = rules.outside(window, low, high)
    return (below if cause is Cause.LOW else above), int(worst[0])


def _one(value: float) -> NDArray[np.float32]:
    return np.array([value], np.float32)


def _window(evidence: dict[str, Any]) -> tuple[rules.Window, NDArray[np.int64]]:
    window = np.full((rules.DEPTH, 1), np.nan, np.float32)
    at_ms = np.zeros((rules.DEPTH, 1), np.int64)
    depth = len(evidence["values"])
    window[:depth, 0] = evidence["values"]
    at_ms[:depth, 0] = evidence["times_ms"]
    return window, at_ms


def _against_band(evidence: dict[str, Any], cause: Cause) -> str:
    above = cause is Cause.HIGH
    band, metric = evidence["band"], evidence["metric"]
    edge = band["high" if above else "low"]
    breaches = _breaches(evidence, edge, above=above)
    worst = (max if above else min)(evidence["values"][: evidence["rule"]["m"]])
    return (
        f"{_name(metric)} {_value(metric, worst)} is {'above' if above else 'below'} "
        f"{_value(metric, edge)} ({band['jurisdiction']}, {band['source']}) "
        f"in {breaches} of {evidence['rule']['m']} readings"
    )


def _newest(evidence: dict[str, Any]) -> str:
    return f"{_name(evidence['metric'])} {_value(evidence['metric'], evidence['values'][0])}"


def _breaches(evidence: dict[str, Any], edge: float, *, above: bool) -> int:
    newest = evidence["values"][: evidence["rule"]["m"]]
    return sum((value > edge) if above else (value < edge) for value in newest)


def _name(metric: str) -> str:
    if metric == ANY_METRIC:
        return "reading"
    return "pH" if BY_NAME[metric] is Metric.PH else metric.replace("_", " ")


def _value(metric: str, value: float) -> str:
    if metric == ANY_METRIC:
        return f"{value:g}"
    ucum = SPECS[BY_NAME[metric]].ucum
    return f"{value:g}{_UNITS.get(ucum, f' {ucum}')}"


def _neighbours(metric: str, neighbours: list[dict[str, Any]]) -> str:
    if not neighbours:
        return ""
    said = ", ".join(f"{n['sensor_id']} at {_value(metric, n['value'])}" for n in neighbours)
    return f"; neighbours: {said}"
