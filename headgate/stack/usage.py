"""What processes have cost: CPU seconds of a process and everything below it."""

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: dict[str, int]) -> dict[str, float]:
    """Return the CPU seconds of each process with its descendants, those already ended included."""
    ticks: dict[int, int] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            children[int(fields[1])].append(int(entry.name))
            ticks[int(entry.name)] = sum(map(int, fields[11:15]))

    def total(pid: int) -> int:
        return ticks.get(pid, 0) + sum(map(total, children[pid]))

    return {name: total(pid) / _TICKS_PER_S for name, pid in pids.items()}
