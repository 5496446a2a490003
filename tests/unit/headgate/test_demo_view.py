"""headgate.demo: what a spectator sees fits the terminal and calls missing what is missing."""

from typing import Any

import pytest
from rich.console import Console

from headgate.demo.view import view
from headgate.demo.watch import ALERTS_SHOWN, MISSING_AFTER_S, Watch

API = "http://127.0.0.1:12345"
SENTENCE = (
    "turbidity 8.002 NTU is above 1 NTU (US, 40 CFR 141.173 (filtered, maximum)) in 2 of 3 "
    "readings; neighbours: 1002 at 0.023 NTU, 1003 at 0.015 NTU, 1005 at 0.029 NTU"
)


def an_alert(number: int) -> dict[str, Any]:
    hops = {"observed": 0, "received": 44, "found": 51, "alerted": 97}
    return {
        "alert_id": str(number),
        "sensor_id": 1000 + number,
        "kind": "contamination",
        "state": "open",
        "timestamp": f"2026-01-01T00:00:{number:02}Z",
        "explanation": {"sentence": SENTENCE, "hops_ms": hops},
    }


def a_watch(*, sent: int = 0, stored: int = 0, alerts: int = 0) -> Watch:
    watch = Watch()
    watch.fleet_said({"progress": {"sent": sent}})
    watch.stored = stored
    for number in range(alerts):
        watch.alert_came(an_alert(number), 100.0)
    return watch


def drawn(watch: Watch, columns: int, lines: int) -> list[str]:
    console = Console(width=columns, height=lines, color_system=None)
    with console.capture() as captured:
        console.print(view(watch, API, elapsed_s=7))
    return captured.get().rstrip("\n").split("\n")


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40), (200, 60)])
def test_it_fits_the_terminal_and_says_where_the_api_is(columns: int, lines: int) -> None:
    shown = drawn(a_watch(alerts=ALERTS_SHOWN + 5), columns, lines)
    assert len(shown) <= lines
    assert any(API in line for line in shown)
    assert any("Ctrl-C" in line for line in shown)
    newest = next(n for n, line in enumerate(shown) if f"sensor {1000 + ALERTS_SHOWN + 4}" in line)
    told = " ".join(line.strip("│ ") for line in shown[newest : newest + 5])
    assert "is above 1 NTU" in told
    assert "detect 7 ms → alert 46 ms → client 3 ms" in told
    assert "hub" not in told


def test_what_is_not_stored_is_on_the_way_first_and_missing_later() -> None:
    watch = a_watch(sent=10, stored=4)
    watch.look(0.0)
    watch.look(MISSING_AFTER_S - 0.1)
    assert watch.missing == 0
    watch.fleet_said({"progress": {"sent": 30}})
    watch.look(MISSING_AFTER_S)
    assert watch.missing == 6
    assert any("on the way 26   missing 6   extra 0" in line for line in drawn(watch, 80, 24))
    watch.stored = 31
    assert watch.missing == 0
    assert any("on the way 0   missing 0   extra 1" in line for line in drawn(watch, 80, 24))


def test_an_alert_told_twice_is_one_and_a_resolved_one_none() -> None:
    watch = a_watch(alerts=3)
    watch.alert_came(an_alert(1), 0.0)
    watch.alert_came(an_alert(9) | {"state": "resolved"}, 0.0)
    assert len(watch.alerts_seen) == len(watch.alerts) == 3


@pytest.mark.parametrize("alert_first", [True, False])
def test_each_alert_shows_its_four_hops_from_publishing_to_here(alert_first: bool) -> None:
    watch = Watch()
    published = {"observed_at_ms": 1_767_225_601_000, "published_at_ms": -2}
    if alert_first:
        watch.alert_came(an_alert(1), 100.0)
    watch.fleet_said({"affected": {"sensor_id": 1001}, **published})
    if not alert_first:
        watch.alert_came(an_alert(1), 100.0)
    assert watch.latency() == {"n": 1, "p50": 102.0, "p99": 102.0}
    assert watch.alerts[0]["latency_ms"] == 102
    assert watch.hops_ms == {"hub": [46], "detect": [7], "alert": [46], "client": [3]}
    told = " ".join(line.strip("│ ") for line in drawn(watch, 120, 24))
    assert "hub 46 ms → detect 7 ms → alert 46 ms → client 3 ms = 102 ms" in told


def test_two_alerts_of_one_reading_are_both_timed() -> None:
    watch = Watch()
    for number in (1, 1):
        alert = an_alert(number) | {"alert_id": str(len(watch.alerts_seen))}
        watch.alert_came(alert, 100.0)
    published = {"observed_at_ms": 1_767_225_601_000, "published_at_ms": 0}
    watch.fleet_said({"affected": {"sensor_id": 1001}, **published})
    assert [alert["latency_ms"] for alert in watch.alerts] == [100, 100]
    assert watch.latency()["n"] == 2


def test_an_alert_whose_receipt_in_the_cloud_nobody_knows_is_timed_without_those_hops() -> None:
    watch, alert = Watch(), an_alert(1)
    alert["explanation"]["hops_ms"]["received"] = None
    watch.alert_came(alert, 100.0)
    published = {"observed_at_ms": 1_767_225_601_000, "published_at_ms": 0}
    watch.fleet_said({"affected": {"sensor_id": 1001}, **published})
    assert watch.latency()["n"] == 1
    assert watch.alerts[0]["latency_ms"] == 100
    assert watch.hops_ms == {"hub": [], "detect": [], "alert": [46], "client": [3]}
    assert "alert 46 ms → client 3 ms = 100 ms" in " ".join(drawn(watch, 120, 24))
