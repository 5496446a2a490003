"""The platform in three words, from who is at work."""

from collections.abc import Set
from typing import Final

STAGES: Final = ("ingest", "detect", "alert", "refresh")


def judge(connected: Set[str]) -> dict[str, str]:
    """Return the public status.

    Workers run if every stage has a connection of its name, ``headgate-STAGE-INDEX``; some
    missing is ``partial``, all missing ``stopped``; either degrades the platform.
    """
    present = {name.split("-")[1] for name in connected if name.count("-") >= 1}
    running = [stage for stage in STAGES if stage in present]
    workers = "running" if len(running) == len(STAGES) else "partial" if running else "stopped"
    status = "healthy" if workers == "running" else "degraded"
    return {"status": status, "db": "connected", "workers": workers}
