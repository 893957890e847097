"""Machines that lack the program, or the folder of the experiments, are named before anything is trained."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster

from search.cluster.capacity import machines
from search.cluster.capacity.machines import UnfitMachine, check_machines, check_sees
from search.storage.storage_path import local_path
from tests.circumstances.tiny_search import own_mounts
from tests.support.waiting import wait_until

LATER = "import sys; from ray import cloudpickle; {}; print(cloudpickle.loads(sys.stdin.buffer.read())('other', [])[0])"


@pytest.mark.parametrize("hides", ["0", "sys.modules['search'] = None"], ids=["another version", "none"])
def test_a_machine_with_another_program_or_none_can_say_so(hides):
    question = cloudpickle.dumps(  # pyright: ignore[reportPrivateImportUsage]  # Ray exports it by its own name only
        machines._question_there()
    )
    done = subprocess.run([sys.executable, "-c", LATER.format(hides)], input=question, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "False"


def test_a_machine_that_joins_later_looks_for_the_folder(tmp_path):
    check_sees(local_path(tmp_path))
    with pytest.raises(UnfitMachine, match=r"not_there, where .* cannot be used on .* \(it is not there\)"):
        check_sees(local_path(tmp_path / "not_there"), seconds=0.0)


@contextmanager
def other_machine(cluster: Cluster, differs: str) -> Iterator[None]:
    """Let a second node join, in whose file system something differs, by a shell command."""
    join = f"{differs}; exec ray start --address={cluster.address} --num-cpus=1 --block --disable-usage-stats"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [*own_mounts(), "bash", "-euc", join]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == 2, seconds=120)
        yield
    finally:
        process.terminate()  # `ray start --block` ends its daemons then
        process.wait()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    running = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(address=running.address, log_to_driver=False)
    yield running
    ray.shutdown()
    running.shutdown()


@pytest.mark.cluster
@pytest.mark.slow
def test_a_machine_with_another_program_or_without_the_folder_is_refused(cluster, tmp_path):
    out, changed = tmp_path / "runs", tmp_path / "changed.py"
    out.mkdir()
    changed.write_text("MORE = 1\n")
    check_machines(local_path(out))
    edited = f"mount --bind {changed} {machines.__file__.replace('machines', 'draining')}"
    expected = pytest.raises(UnfitMachine, match="another version of this program than here, or none, is on")
    with other_machine(cluster, edited), expected:
        check_machines(local_path(out))
    wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == 1, seconds=120)
    with other_machine(cluster, f"mount -t tmpfs none {out}"):
        check_machines()
        with pytest.raises(UnfitMachine, match=f"^{out}, where .*, cannot be used on .*: mount the same"):
            check_machines(local_path(out))
    assert [*out.iterdir()] == []
