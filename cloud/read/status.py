"""The platform in three words, from who is at work."""

from collections.abc import Mapping
from typing import Final

STAGES: Final = ("ingest", "detect", "alert", "refresh")
SILENT_S_MAX: Final = 15.0  # it speaks every two seconds; ten at one step, and it is kept silent


def judge(silent_s: Mapping[str, float]) -> dict[str, str]:
    """Return the public status.

    A stage runs if it has a worker, ``headgate-STAGE-INDEX``, and none of them is silent for
    ``SILENT_S_MAX``: a worker that hangs keeps its share of the hubs. Workers run if every stage
    does; some not is ``partial``, all not ``stopped``; either degrades the platform.

    Args:
        silent_s: Name of each connected worker to how long the store has not heard of it, seconds.
    """
    workers: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for name, seconds in silent_s.items():
        workers.get("".join(name.split("-")[1:2]), []).append(seconds)
    running = [each for each in workers.values() if each and max(each) <= SILENT_S_MAX]
    said = "running" if len(running) == len(STAGES) else "partial" if running else "stopped"
    status = "healthy" if said == "running" else "degraded"
    return {"status": status, "db": "connected", "workers": said}
