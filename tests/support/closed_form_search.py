"""Run a search without training in a process of its own: `python closed_form_search.py OUT NAME TRIALS MAX_CONCURRENT`.

It runs on the cluster that RAY_ADDRESS names and prints what a search prints. MAX_CONCURRENT is 0 for no limit.
"""

import sys
from pathlib import Path

from ray import cloudpickle, tune

from search.cluster.capacity.autoscaler import plan_on_cluster
from search.cluster.engine import run_search
from search.cluster.session import ray_session
from search.config import SearchConfig
from tests.support import closed_form_lane, fakes

MAX_EPOCHS = 9


def main(out: str, name: str, trials: str, max_concurrent: str) -> None:
    for module in (closed_form_lane, fakes):  # workers cannot import the tests
        cloudpickle.register_pickle_by_value(module)
    config = SearchConfig(
        out=Path(out),
        name=name,
        trials=int(trials),
        max_concurrent=int(max_concurrent) or None,
        max_epochs=MAX_EPOCHS,
        scheduler="none",
        tracking="off",
        cpus_per_worker=1,
    )
    config.folder.mkdir()
    with ray_session():
        lanes = plan_on_cluster(config)
        lane = tune.with_parameters(closed_form_lane.ClosedFormLane, max_epochs=MAX_EPOCHS, epoch_seconds=0.1)
        run_search(config, tune.with_resources(lane, {"CPU": 1}), num_lanes=lanes.num_lanes, lanes=lanes)


if __name__ == "__main__":
    main(*sys.argv[1:])
