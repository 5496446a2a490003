"""The demo: the whole river on this machine, disturbed on purpose, and the account at the end."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Final

from headgate.demo.river import Account, demo
from headgate.stack.errors import StackError

INTERRUPTED: Final = 130


def run(arguments: Sequence[str]) -> int:
    """Show the river; return 0 when nothing is missing or extra, else 1; 130 without a count."""
    parser = argparse.ArgumentParser(
        prog="headgate demo",
        description="Start everything on this machine, contaminate simulated water again and "
        "again, show the alerts, and count: sent = stored. Ctrl-C ends it and leaves nothing.",
    )
    parser.add_argument("--seconds", type=float, help="end after so long (default: at Ctrl-C)")
    parser.add_argument("--json", action="store_true", help="no picture; the last line is JSON")
    chosen = parser.parse_args(list(arguments))
    if chosen.seconds is not None and chosen.seconds < 10:
        parser.error("--seconds: contaminations need at least 10")
    try:
        account = asyncio.run(demo(chosen.seconds, as_json=chosen.json, tell=_tell))
    except KeyboardInterrupt:
        _tell("stopped before the count; nothing runs any more")
        return INTERRUPTED
    except StackError as exc:
        print(f"headgate: {exc.args[0]}\n  -> {exc.hint}", file=sys.stderr)
        return 1
    print(json.dumps(account) if chosen.json else _summary(account))
    return 0 if account["missing"] == account["extra"] == 0 else 1


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _summary(account: Account) -> str:
    latency = account["alert_latency_ms"]
    return (
        f"{account['readings_sent']:,} sent = {account['readings_stored']:,} stored, "
        f"missing {account['missing']}, extra {account['extra']}, refused {account['refused']}\n"
        f"{account['alerts']} alerts; of {account['alerts_expected']} that had to come "
        f"missing {account['alerts_missing']}, without a cause {account['alerts_extra']}; "
        f"published to seen: p50 {latency['p50']} ms, p99 {latency['p99']} ms (n {latency['n']})\n"
        f"{account['bytes_per_reading']} bytes a reading between hub and cloud"
    )
