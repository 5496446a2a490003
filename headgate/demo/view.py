"""The live terminal view of the river."""

from typing import Any

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headgate.demo.watch import Watch


def view(watch: Watch, api_url: str, *, elapsed_s: float) -> Group:
    """Return the picture of this moment."""
    return Group(_river(watch, elapsed_s), _alerts(watch), _footer(watch, api_url))


def _river(watch: Watch, elapsed_s: float) -> Panel:
    on_the_way = watch.sent - watch.stored
    line = Text.assemble(
        ("2 hubs x 20 sensors   ", "bold"),
        f"sent {watch.sent:,}  →  on the hubs' disks {watch.committed:,}  →  ",
        (f"stored {watch.stored:,}", "bold green"),
        f"   on the way {max(0, on_the_way):,}   extra {max(0, -on_the_way):,}",
    )
    return Panel(line, title=f"the river · {elapsed_s:.0f} s", border_style="cyan")


def _alerts(watch: Watch) -> Panel:
    table = Table(expand=True, box=None, pad_edge=False)
    table.add_column("", width=1)
    table.add_column("sensor", width=7)
    table.add_column("why", ratio=1)
    table.add_column("hop by hop, ms", width=40, no_wrap=True)
    for alert in watch.alerts:
        fault = alert["kind"] == "sensor_fault"
        mark = Text("△", "yellow") if fault else Text("◆", "red")
        table.add_row(mark, alert["sensor_id"], _sentence(alert), _hops(alert))
    latency = watch.latency()
    title = f"alerts · {len(watch.alerts_seen)}"
    if latency["n"]:
        title += f" · published to seen: p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms"
    return Panel(table, title=title, border_style="red")


def _sentence(alert: dict[str, Any]) -> str:
    return str(alert["explanation"]["sentence"])


def _hops(alert: dict[str, Any]) -> str:
    """Return when the completing reading was where, counted from its observation."""
    at = alert["explanation"]["hops_ms"]
    names = {"received": "in the cloud", "found": "found", "alerted": "alert"}
    return "  ".join(
        f"{name} +{at[hop] - at['observed']:.0f}" for hop, name in names.items() if at.get(hop)
    )


def _footer(watch: Watch, api_url: str) -> Text:
    return Text(
        f"{api_url}/api/alerts   {api_url}/api/gaps   {api_url}/metrics   Ctrl-C ends", "dim"
    )
