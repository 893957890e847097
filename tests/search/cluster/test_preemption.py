"""A node gets a notice: its trial continues elsewhere from the batch under way. On a real Ray."""

import gc
import json
import os
import re
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from optuna.distributions import CategoricalDistribution
from ray.cluster_utils import Cluster
from torch.multiprocessing.spawn import spawn

from data.packing.pack import Pack
from data.preprocess import Preprocessing
from model.training.train import train
from search.cluster import engine
from search.cluster.capacity.lane_plan import node_resources, plan_lanes
from search.cluster.capacity.node_usage import MARKET, SPOT
from search.cluster.notice import Raylet, drain
from search.cluster.session import ray_session
from search.config import SearchConfig
from search.coordination.checkpoints import METRICS_FILE, Checkpoints
from search.record.epochs import EpochMetrics
from search.record.files import LOG_FILE, RAY_FOLDER
from search.record.jsonl import read_lines
from search.record.trials import State, TrialRow
from search.space.configs import to_configs
from search.space.named import SPACES
from search.space.space import Space
from tests.support.fakes import small_pack
from tests.support.ray_internals import list_actors
from tests.support.waiting import wait_until

# Cluster does not close all its sockets.
pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.slow,
]

NUM_BATCHES = 32
"""Of an epoch."""

BATCH_SECONDS = 0.5
"""What a batch of the second epoch takes: 14 s for a notice to be heard, which takes one or two."""

PATIENCE_SECONDS = 240

GOOD = {"learning_rate": 1e-2, "depth": 2, "dropout": 0.5, "bce_weight": 0.5}


def with_bright_tumours(pack: Pack) -> Pack:
    """Return a pack of which something can be learnt, so that Dice is not always 0."""
    images = pack.images.copy()
    images[pack.masks > 0] = 255
    return replace(pack, images=images)


PACK = with_bright_tumours(small_pack([True] * 16 * NUM_BATCHES, num_patients=2, size=64))
VAL = with_bright_tumours(small_pack([True] * 4, num_patients=2, size=64))


def with_slow_second_epoch(pack: Pack, begun: Path) -> Pack:
    """Return the same slices, which take their time in the second epoch of a process; a file says that it is there.

    A process that begins in the middle of that epoch reads too few for it.
    """

    class Images(np.ndarray):
        num_read = 0

        def __getitem__(self, index: Any) -> np.ndarray:  # once for a batch
            self.num_read += 1
            if self.num_read > NUM_BATCHES + 3:  # two are read ahead: the first is being trained on
                begun.touch()
                time.sleep(BATCH_SECONDS)
            return self.view(np.ndarray)[index]

    return replace(pack, images=pack.images.view(Images))


class KnowsNoActor(BaseHTTPRequestHandler):
    """The API server of another Ray, which starts meanwhile, asked for an actor."""

    starts: Path

    def do_GET(self) -> None:
        if not self.starts.exists():
            self.send_error(503)
            return
        found = {"total": 0, "num_after_truncation": 0, "num_filtered": 0, "result": [], "partial_failure_warning": ""}
        content = json.dumps({"result": True, "msg": "", "data": {"result": found}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def stranger(tmp_path, monkeypatch) -> Iterator[None]:
    """Another Ray, which the environment names; Ray Train would ask it about ours."""
    monkeypatch.setattr(KnowsNoActor, "starts", tmp_path / "begun", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), KnowsNoActor) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


@pytest.fixture
def nodes(monkeypatch) -> Iterator[Cluster]:
    """A head without cores and two nodes with one each, which are processes of this machine."""
    without = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}  # seconds less
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0} | without)
    for _ in range(2):
        add_node(cluster)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    cluster.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def add_node(cluster: Cluster) -> None:
    cluster.add_node(num_cpus=1, object_store_memory=100_000_000, labels={MARKET: SPOT})


def nodes_of(kind: str) -> list[str]:
    """Return the ids of the nodes on which actors of a class live or have lived."""
    return [
        actor["Address"]["NodeID"]
        for actor in list_actors()
        if actor["ActorClassName"].endswith(kind) and actor["State"] in ("ALIVE", "DEAD")
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


def search(tmp_path: Path, monkeypatch, meanwhile: Callable[[SearchConfig], None], sample: dict, **options) -> TrialRow:
    """Return the trial of a search of one trial of two epochs; something happens in the middle of the second."""
    monkeypatch.setitem(
        SPACES, "core", Space({name: CategoricalDistribution([value]) for name, value in sample.items()})
    )
    config = config_of(tmp_path, **options)
    config.folder.mkdir(parents=True)
    begun = tmp_path / "begun"

    def happen() -> None:
        wait_until(begun.exists, seconds=PATIENCE_SECONDS)
        meanwhile(config)

    with ray_session():
        happens = threading.Thread(target=happen, daemon=True)
        happens.start()
        pack = with_slow_second_epoch(PACK, begun)
        [row] = engine.run_trials(config, plan_lanes(config, node_resources()), pack, VAL)
        happens.join()
    return row


def reclaim(node: str, cluster: Cluster, config: SearchConfig) -> dict[str, Any]:
    """Drain a node; return the metrics in the checkpoint with which the trial leaves it."""
    num_nodes = len(node_resources())
    assert cluster.address is not None
    assert drain(Raylet(node_id=node, gcs_address=cluster.address), time.time() + 30, "a test") is None
    assert len(node_resources()) == num_nodes - 1, "a node that drains counts as room"
    wait_until(lambda: "num_batches" in newest_metrics(config), seconds=PATIENCE_SECONDS)
    return newest_metrics(config)


def newest_metrics(config: SearchConfig) -> dict[str, Any]:
    newest = Checkpoints(config.folder / RAY_FOLDER).newest(0)
    assert newest is not None
    return json.loads(Path(newest).with_name(METRICS_FILE).read_text())


def test_a_trial_that_leaves_its_node_mid_epoch_ends_as_if_undisturbed(tmp_path, monkeypatch, nodes, capsys):
    found = []

    def leave(config: SearchConfig) -> None:
        [node] = nodes_of("Lane")
        found.append(reclaim(node, nodes, config))
        wait_until(lambda: set(nodes_of("Lane")) - {node}, seconds=PATIENCE_SECONDS)

    row = search(tmp_path, monkeypatch, leave, GOOD)
    [checkpoint] = found
    check_left(row, checkpoint, tmp_path, capsys.readouterr().out)
    # Bit for bit the result of a training without Ray and without a notice.
    *_, undisturbed = train(*to_configs(row.sample, config_of(tmp_path).shared_settings(3)), PACK, VAL)
    assert without_clocks(row.epochs) == without_clocks(map(EpochMetrics.from_json, undisturbed.state.history))
    assert row.epochs[1].val_dice > row.epochs[0].val_dice, "the best checkpoint is not the last"
    assert row.checkpoint is not None
    state = torch.load(config_of(tmp_path).folder / row.checkpoint, weights_only=True)
    weights = undisturbed.state.network.state_dict()
    assert all(torch.equal(state["network"][name], weights[name]) for name in weights)


@pytest.mark.slow  # a minute: two groups of two processes begin; what all of it consists of, others test
def test_a_trial_on_two_nodes_leaves_both_and_continues_on_others(tmp_path, monkeypatch, stranger, nodes, capsys):
    add_node(nodes)
    found = []

    def leave(config: SearchConfig) -> None:
        first = nodes_of("RayTrainWorker")
        found.append(reclaim(first[0], nodes, config))
        wait_until(lambda: len(nodes_of("RayTrainWorker")) == 4, seconds=PATIENCE_SECONDS)
        second = Counter(nodes_of("RayTrainWorker")) - Counter(first)
        found.append([set(first), set(second), {node.node_id for node in nodes.worker_nodes} - {first[0]}])

    row = search(tmp_path, monkeypatch, leave, GOOD, workers_per_trial=2)
    checkpoint, (first, second, others) = found
    check_left(row, checkpoint, tmp_path, capsys.readouterr().out)
    assert len(first) == 2
    assert second == others
    # Bit for bit the result of two processes without Ray and without a notice.
    spawn(train_rank, (tmp_path, row.sample), nprocs=2)
    undisturbed = [EpochMetrics.from_json(json.loads(line)) for line in (tmp_path / "undisturbed").open()]
    assert without_clocks(row.epochs) == without_clocks(undisturbed)
    assert row.epochs[1].val_dice > 0


def train_rank(rank: int, folder: Path, sample: dict) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    *_, last = train(*to_configs(sample, config_of(folder).shared_settings(3)), PACK, VAL)
    if rank == 0:
        (folder / "undisturbed").write_text("\n".join(map(json.dumps, last.state.history)))
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # as in test_losses.py


def check_left(row: TrialRow, checkpoint: dict, tmp_path: Path, said: str) -> None:
    """Check that a trial left in the middle of its second epoch, for no loss, and ended elsewhere."""
    assert (checkpoint["epoch"], checkpoint["num_batches"] > 0) == (1, True)
    assert row.state == State.COMPLETE
    assert [epoch.epoch for epoch in row.epochs] == [1, 2]
    where = f"it continues after batch {checkpoint['num_batches']} of epoch 2 elsewhere"
    assert re.search(rf"t000 leaves [\d.]+, which will be reclaimed; {where}", said)
    first, second = row.epochs
    assert first.elapsed_seconds is not None
    assert second.elapsed_seconds is not None
    gap = second.elapsed_seconds - first.elapsed_seconds - second.seconds
    print(f"{gap:.1f} s between the batch before and the next one; epochs of {first.seconds:.1f} s")
    log = list(read_lines(config_of(tmp_path).folder / LOG_FILE))
    assert [event["event"] for event in log] == ["begin", "leg", "epoch", "leg", "epoch", "end"]


def without_clocks(epochs: Iterable[EpochMetrics]) -> list[str]:
    """Return what must repeat, as text: nan equals itself there."""
    clocks = ("seconds", "peak_memory_mb")
    return [
        repr({key: value for key, value in epoch.to_json().items() if not key.endswith(clocks)}) for epoch in epochs
    ]
