"""The live terminal view of the river: it fits the terminal, whatever its size."""

from typing import Any, Final

from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headgate.demo.watch import MISSING_AFTER_S, Watch

_RIVER_LINES: Final = 4
_FOOTER_LINES: Final = 2


def view(watch: Watch, api_url: str, *, elapsed_s: float) -> Layout:
    """Return the picture of this moment; alerts for which there is no room are left out."""
    picture = Layout()
    picture.split_column(
        Layout(_river(watch, elapsed_s), size=_RIVER_LINES),
        Layout(_alerts(watch)),
        Layout(_footer(api_url), size=_FOOTER_LINES),
    )
    return picture


def _river(watch: Watch, elapsed_s: float) -> Panel:
    on_the_way = watch.sent - watch.stored
    count = Text.assemble(
        f"sent {watch.sent:,} = ",
        (f"stored {watch.stored:,}", "bold green"),
        f" + on the way {max(0, on_the_way):,}   ",
        _wrong("missing", watch.missing),
        "   ",
        _wrong("extra", max(0, -on_the_way)),
    )
    about = Text(
        f"2 hubs x 20 sensors; missing = sent {MISSING_AFTER_S:.0f} s ago and not stored", "dim"
    )
    return Panel(
        Text("\n").join([count, about]),
        title=f"the river · {elapsed_s:.0f} s",
        border_style="cyan",
    )


def _wrong(name: str, count: int) -> tuple[str, str]:
    return f"{name} {count:,}", "bold red" if count else "bold green"


def _alerts(watch: Watch) -> Panel:
    table = Table(expand=True, box=None, pad_edge=False, show_header=False)
    table.add_column(width=1)
    table.add_column(width=11, no_wrap=True)
    table.add_column(ratio=1)
    for alert in watch.alerts:
        fault = alert["kind"] == "sensor_fault"
        mark = Text("△", "yellow") if fault else Text("◆", "red")
        why = Text.assemble(alert["explanation"]["sentence"], "\n", (_hops(alert), "dim"))
        table.add_row(mark, f"sensor {alert['sensor_id']}", why)
    latency = watch.latency()
    title = f"alerts · {len(watch.alerts_seen)}"
    if latency["n"]:
        title += f" · published to seen: p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms"
    return Panel(table, title=title, border_style="red")


def _hops(alert: dict[str, Any]) -> str:
    """Return what each hop took from publishing to here, as far as it is known."""
    hops = " → ".join(f"{hop} {spent:.0f} ms" for hop, spent in alert["spent_ms"].items())
    return f"{hops} = {alert['latency_ms']:.0f} ms" if "latency_ms" in alert else hops


def _footer(api_url: str) -> Text:
    return Text(
        f"API {api_url}   try /api/alerts, /api/gaps, /metrics\n"
        "Ctrl-C counts everything once more and leaves nothing behind",
        "dim",
        no_wrap=True,
    )
