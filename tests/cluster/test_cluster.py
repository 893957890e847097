"""`ray up cluster.yaml` on hosts of this machine, and searches there that lose hosts, cables and drivers."""

from collections.abc import Iterator

import pytest
from cluster import Cluster, cluster
from hosts import require_hosts

from search.trials import State, read_rows

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

TINY = "--data phantom:6 --size 64 --width 4 --tracking off --out /mnt/shared/runs"
SEARCH = f"cd tumour-search && RAY_ADDRESS=auto python -m search.tune {TINY}"


@pytest.fixture(scope="module")
def running(request) -> Iterator[Cluster]:
    require_hosts(request)
    with cluster(num_workers=2) as started:
        yield started


def test_ray_up_starts_a_head_without_cores_and_the_workers_that_the_file_names(running):
    found = running.cpus_by_address()
    assert found == {running.head.address: 0} | {worker.address: 1 for worker in running.workers[:2]}


def test_two_workers_of_a_trial_train_on_two_hosts_and_the_model_is_promoted(running):
    said = running.ray("exec", f"'{SEARCH} --name two --trials 2 --max-epochs 2 --workers-per-trial 2'")
    assert said.returncode == 0, said.stdout
    folder = running.hosts.shared / "runs" / "two"
    assert {row.state for row in read_rows(folder / "trials.jsonl")} <= {State.COMPLETE, State.PRUNED}
    assert (folder / "best" / "model.onnx").exists()
    workers = running.ask("[a.node_id for a in state.list_actors() if a.class_name == 'RayTrainWorker']")
    assert len(workers) == len(set(workers)) == 2, "a lane that stays warm has each of its workers once, on its host"


def test_a_client_without_the_token_is_refused(running):
    connect = f"python -c \"import ray; ray.init('{running.head.address}:6379')\""
    assert running.at_desk(f"RAY_AUTH_MODE=token {connect}").returncode == 0, "the network lets nobody in"
    said = running.at_desk(f"mv ~/.ray/auth_token ~/.ray/away; {connect}; status=$?; mv ~/.ray/away ~/.ray/auth_token; exit $status")
    assert said.returncode != 0
    assert "token" in said.stdout
