"""The account at the end: what was sent, what became of it, what was done to it. No I/O."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from headgate.prove.heal import Healing, worst_heal_s
from headgate.prove.plan import TARGETS, Target

NOTHING_LOST: Final = "nothing lost"
COUNTS: Final = (
    "readings_sent",
    "readings_stored",
    "refused",
    "shed",
    "throttled",
    "missing",
    "extra",
    "conflicting",
    "lost_before_commit",
    "alerts_expected",
    "alerts_missing",
    "alerts_extra",
)
_MUST_BE_ZERO: Final = ("missing", "extra", "conflicting", "alerts_missing", "alerts_extra")

Account = dict[str, Any]


def account(
    seed: int,
    verdicts: Sequence[Mapping[str, Any]],
    healings: Sequence[Healing],
    unsettled: Sequence[str] = (),
    *,
    targets: Sequence[Target] = TARGETS,
    more: Mapping[str, Any] | None = None,
) -> Account:
    """Return the account of a run.

    Args:
        seed: Of the run.
        verdicts: The oracle's, one a fleet; they add up.
        healings: Of every fault.
        unsettled: What was still on its way when time ran out, or else wrong, in words.
        targets: What was there to be broken.
        more: Further figures of this river.
    """
    totals: dict[str, int] = {
        name: sum(int(verdict[name]) for verdict in verdicts) for name in COUNTS
    }
    done = Counter(healing.strike.target for healing in healings)
    worst_s = worst_heal_s(healings)
    return {
        **totals,
        "kills": {str(target): done[target] for target in targets},
        "worst_heal_s": None if worst_s is None else round(worst_s, 2),
        **(more or {}),
        "verdict": _verdict(totals, healings, unsettled),
        "seed": seed,
    }


def table(account: Account) -> str:
    """Return the account for people."""
    kills = ", ".join(f"{name} {count}" for name, count in account["kills"].items())
    felt = account.get("unavailable_s_max", {})
    rows = [
        *((name.replace("_", " "), f"{account[name]:,}") for name in COUNTS),
        ("kills", kills),
        ("worst heal", f"{account['worst_heal_s']} s"),
        *((f"felt {kind}", f"{seconds:.1f} s unavailable") for kind, seconds in felt.items()),
        ("seed", account["seed"]),
        ("verdict", account["verdict"]),
    ]
    return "\n".join(f"  {name:<24}{value}" for name, value in rows)


def _verdict(
    totals: Mapping[str, int], healings: Sequence[Healing], unsettled: Sequence[str]
) -> str:
    wrong = [f"{name} {totals[name]}" for name in _MUST_BE_ZERO if totals[name]]
    if not totals["readings_sent"]:
        wrong.append("nothing was sent")
    never = sorted({healing.name for healing in healings if healing.heal_s is None})
    wrong += [f"{name} never healed" for name in never]
    return ", ".join([*wrong, *unsettled]) or NOTHING_LOST
