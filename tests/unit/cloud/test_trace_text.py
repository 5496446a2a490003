"""cloud.trace: a technician reads every value that was measured, and the time once."""

from datetime import UTC, datetime
from typing import Any

from cloud.core.trace import Facts
from cloud.core.views import Reading
from cloud.trace import as_object, as_text
from wire.ids import SensorId
from wire.metric import METRICS, Metric
from wire.quality import Quality

NOON = datetime(2025, 1, 28, 12, tzinfo=UTC)


def observed(values: dict[Metric, float], quality: int = 0) -> str:
    """Return the line that says what was measured."""
    columns = [values.get(Metric(metric)) for metric in range(METRICS)]
    row: Reading = (NOON, *columns, quality, 0.0, 1)
    nothing: dict[str, Any] = dict.fromkeys(
        ("batches", "refused", "conflicts", "dead", "findings", "holes"), ()
    )
    facts = Facts(sensor={"hub_id": "hub-1"}, row=row, evidence=False, **nothing)
    text = as_text(as_object(SensorId(123), NOON, facts))
    return next(line for line in text.splitlines() if line.startswith("  observed"))


def test_a_measured_zero_is_shown_and_what_was_not_measured_is_not() -> None:
    line = observed({Metric.TEMPERATURE: 0.0, Metric.FREE_CHLORINE: 0.0})
    assert "temp 0.0, free_chlorine 0.0, score 0.0, samples 1" in line
    assert "pH" not in line
    assert "None" not in line


def test_the_time_is_printed_once() -> None:
    line = observed({Metric.PH: 7.0})
    assert line.count("2025-01-28T12:00:00Z") == 1
    assert "timestamp" not in line


def test_marks_are_words_and_no_mark_is_no_word() -> None:
    assert "late" in observed({Metric.PH: 7.0}, int(Quality.LATE))
    assert "[" not in observed({Metric.PH: 7.0}, int(Quality.LATE))
    assert "quality" not in observed({Metric.PH: 7.0})
