"""A node is taken back, with a notice: its trial goes on elsewhere from the batch under way, on a real Ray."""

import gc
import json
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from fakes import small_pack
from optuna.distributions import CategoricalDistribution
from ray.cluster_utils import Cluster

from data.preprocess import Preprocessing
from search.checkpoints import METRICS_FILE, Checkpoints
from search.cluster import engine
from search.cluster.lanes import node_resources, plan_lanes
from search.cluster.notice import Raylet, drain
from search.config import SearchConfig
from search.files import RAY_FOLDER
from search.jsonl import read_lines
from search.space import SPACES
from search.trials import State

# Cluster does not close all its sockets.
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

PACK = small_pack([True, False] * 1500, num_patients=2, size=64)
"""187 batches of 16: several seconds, even at this size."""
PATIENCE_SECONDS = 240

VAL = small_pack([True] * 4, num_patients=2, size=64)


@pytest.fixture
def nodes(monkeypatch) -> Iterator[Cluster]:
    """A head without cores and two nodes with one each, which are processes of this machine."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    cluster.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def lanes_by_node() -> list[str]:
    """Return the ids of the nodes on which lanes live."""
    return [
        actor["Address"]["NodeID"]
        for actor in ray._private.state.actors().values()
        if actor["ActorClassName"].endswith("Lane") and actor["State"] == "ALIVE"
    ]


def config_of(out: Path, **options) -> SearchConfig:
    return SearchConfig(
        out=out,
        name="test",
        trials=1,
        max_epochs=2,
        max_failures=0,
        preprocessing=Preprocessing(size=64),
        width=2,
        tracking="off",
        scheduler="none",
        precision="float32",
        **options,
    )


def search(folder: Path, monkeypatch, meanwhile: Callable[[SearchConfig], None], **options) -> list:
    """Return the trials of a search of one trial of two epochs, while something happens."""
    good = {"learning_rate": 1e-2, "depth": 2, "dropout": 0.5, "bce_weight": 0.5}
    monkeypatch.setitem(SPACES, "core", {name: CategoricalDistribution([value]) for name, value in good.items()})
    config = config_of(folder, **options)
    config.folder.mkdir(parents=True)
    with engine.ray_cluster():
        happens = threading.Thread(target=meanwhile, args=(config,), daemon=True)
        happens.start()
        rows = engine.run_trials(config, plan_lanes(config, node_resources()), PACK, VAL)
        happens.join()
    return rows


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def log_of(config: SearchConfig) -> list[dict]:
    file = config.folder / "events.jsonl"
    return list(read_lines(file)) if file.exists() else []


def test_a_trial_leaves_its_node_in_the_middle_of_an_epoch_and_goes_on_there_elsewhere(
    tmp_path, monkeypatch, nodes, capsys
):
    found = []

    def take_back(config: SearchConfig) -> None:
        wait_for(lambda: any(event["event"] == "epoch" for event in log_of(config)), "no epoch")
        time.sleep(0.5)
        [node] = lanes_by_node()
        assert drain(Raylet(node_id=node, gcs_address=nodes.address), time.time() + 30, "a test") is None
        assert len(node_resources()) == 2, "a node that is taken back counts as room"
        wait_for(lambda: lanes_by_node() not in ([], [node]), "no lane elsewhere")
        newest = Path(Checkpoints(config.folder / RAY_FOLDER).newest(0))
        found.append(json.loads(newest.with_name(METRICS_FILE).read_text()))

    [row] = search(tmp_path / "runs", monkeypatch, take_back)
    [checkpoint] = found
    assert (checkpoint["epoch"], checkpoint["num_batches"] > 0) == (1, True)
    assert row.state == State.COMPLETE
    assert [epoch["epoch"] for epoch in row.epochs] == [1, 2]
    where = f"it goes on after batch {checkpoint['num_batches']} of epoch 2 elsewhere"
    assert re.search(rf"t000 leaves [\d.]+, which is taken back; {where}", capsys.readouterr().out)
    first, second = row.epochs
    gap = second["elapsed_seconds"] - first["elapsed_seconds"] - second["seconds"]
    print(f"{gap:.1f} s between the batch before and the next one; epochs of {first['seconds']:.1f} s")
    log = log_of(config_of(tmp_path / "runs"))
    assert [event["event"] for event in log] == ["begin", "leg", "epoch", "leg", "epoch", "end"]
