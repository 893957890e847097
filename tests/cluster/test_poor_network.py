"""A whole search on a cluster whose network is slow, loses packets, and is interrupted for moments.

FLICKER_SEED changes the moments; the test prints it with its figures.
"""

import json
import os
import random
import subprocess
import time
from collections import Counter

import pytest

from search.record.trials import State
from tests.cluster.cluster import Cluster, cluster
from tests.cluster.hosts import require_hosts
from tests.cluster.searches import SMALL, check_promoted, events, losses, rows, said_file, search

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

NUM_TRIALS = 6
OPTIONS = f"{SMALL} --trials {NUM_TRIALS} --max-epochs 3 --max-failures 1000"


@pytest.mark.parametrize("num_workers", [1, 2])
def test_search_on_a_poor_network_accounts_for_every_trial_and_epoch(num_workers, request):
    require_hosts(request)
    seed = int(os.environ.get("FLICKER_SEED") or num_workers)
    options = f"{OPTIONS} --workers-per-trial {num_workers}"
    with cluster(num_workers=2) as running:
        for worker in running.workers:
            running.hosts.slow_down(worker)
        started = time.monotonic()
        with search(running, "poor", options) as (process, _):
            interrupted = interrupt(running, process, random.Random(seed))
        log = events(running, "poor")
        figures = {
            "workers": num_workers,
            "seed": seed,
            "interrupted": interrupted,
            "lost_packets": sum(map(running.hosts.num_lost_packets, running.workers)),
            "lost_groups": len(losses(log)),
            "seconds": round(time.monotonic() - started),
        }
        print(json.dumps(figures))
        assert process.returncode == 0, said_file(running, "poor").read_text()
        check_promoted(running, "poor")
        table = rows(running, "poor")
    assert figures["interrupted"] > 0
    assert figures["lost_packets"] > 0
    assert [row.number for row in table] == list(range(NUM_TRIALS))
    assert {row.state for row in table} <= {State.COMPLETE, State.PRUNED}
    trained = Counter((one["number"], one["metrics"]["epoch"]) for one in log if one["event"] == "epoch")
    assert set(trained.values()) == {1}
    assert {row.number: len(row.epochs) for row in table} == Counter(number for number, _ in trained)


def interrupt(running: Cluster, process: subprocess.Popen, rng: random.Random) -> int:
    """Pull one worker's cable for about a second, again and again until a process ends; return how often."""
    number = 0
    while process.poll() is None:
        time.sleep(rng.uniform(2.0, 10.0))
        worker = rng.choice(running.workers)
        running.hosts.cut_off(worker)
        time.sleep(rng.uniform(0.5, 1.5))
        running.hosts.reconnect(worker)
        number += 1
    return number
