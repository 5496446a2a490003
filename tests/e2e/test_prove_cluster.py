"""``headgate prove --cluster`` as a user types it: a queue's leader killed, a hub shut out."""

import json
import subprocess
import sys

import pytest

from headgate.prove.account import COUNTS, NOTHING_LOST
from headgate.prove.cluster_plan import ALWAYS, TARGETS, Size, cluster_plan
from headgate.prove.river import INGEST_WORKERS
from tests.support.servers import rabbitmq

SECONDS, SEED, HUBS = 12, 5, 1
FIGURES = ("held_by_revoked", "held_while_frozen", "unavailable_s_max")


@pytest.mark.timeout(400)
@pytest.mark.spec("O5")
def test_nothing_is_lost_when_the_leader_dies_ingest_stands_still_and_a_hub_is_shut_out() -> None:
    rabbitmq()
    river = ("--hubs", str(HUBS), "--sensors", "5", "--rate", "25")
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "headgate.cli", "prove", "--cluster", "--json"),
            *("--seconds", str(SECONDS), "--seed", str(SEED), *river),
        ],
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.stdout, done.stderr
    account = json.loads(done.stdout)
    assert account["verdict"] == NOTHING_LOST, (account, done.stderr)
    assert done.returncode == 0
    assert list(account) == [*COUNTS, "kills", "worst_heal_s", *FIGURES, "verdict", "seed"]
    assert set(account["kills"]) == set(TARGETS)
    plan = cluster_plan(SECONDS, SEED, Size(HUBS, INGEST_WORKERS))
    felt = account["unavailable_s_max"]
    assert {strike.kind for strike in plan.apart[:ALWAYS]} <= felt.keys()
    assert felt.keys() <= {strike.kind for strike in plan.strikes}
    before, after = account["held_while_frozen"]
    assert after > before
    assert account["held_by_revoked"] > 0
    sent, stored = account["readings_sent"], account["readings_stored"]
    assert sent == stored + account["lost_before_commit"] + account["refused"]
    assert account["alerts_expected"] > 0
