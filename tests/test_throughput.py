"""The benchmarks of training speed: their ratios, and that they run where few packages are."""

import json
import os
import subprocess
import sys
import threading
from functools import partial
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
import torch

from data.loaders import epoch_slices
from tests.benchmarks.lanes import prepare_lane
from tests.benchmarks.throughput.own import Program, Resident
from tests.benchmarks.throughput.peers import Reference, Typical
from tests.benchmarks.throughput.processes import serve
from tests.benchmarks.throughput.rounds import Rates, Turns, run_rounds
from tests.benchmarks.throughput.workload import DrawnPatient, Missing, Workload, make_workload
from tests.benchmarks.training import limit_builds, ratios
from tests.support.few_packages import environment_without

ROOT = Path(__file__).resolve().parents[1]
OTHERS = ("jaxtyping", "tyro", "rich", "tifffile", "ray", "optuna", "wandb", "safetensors", "monai")


def workload() -> Workload:
    patients = [DrawnPatient(id=f"P{number}", number=number) for number in (1, 2)]
    return make_workload(patients, size=64, batch_size=4, width=2, num_batches=1)


def test_ratios_are_medians_of_rounds_against_the_best_limit():
    rates = Rates(
        slices_per_second={
            "program": [9.0, 8.0, 7.0],
            "slow": [5.0] * 3,
            "fast": [10.0, 10.0, 14.0],
            "monai": [4.0] * 3,
        },
        left_out={"typical": "DATA whose slices are TIFF files"},
    )
    found = ratios(rates, ("slow", "fast"))
    assert (found["ratio_to_limit"], found["limit"]) == (0.8, "fast")
    assert (found["speedup_over_monai"], found["speedup_over_typical"]) == (2.0, None)


def test_ratios_of_a_program_that_failed_are_missing():
    rates = Rates(slices_per_second={"fast": [10.0]}, left_out={"program": "RuntimeError: no memory"})
    found = ratios(rates, ("slow", "fast"))
    assert (found["ratio_to_limit"], found["limit"]) == (None, "fast")
    assert ratios(Rates(), ("slow",))["limit"] is None


def test_limit_is_sought_in_each_mode_and_layout():
    assert list(limit_builds("instance", compile_modes=("default", "max-autotune-no-cudagraphs"))) == [
        "eager_contiguous",
        "eager_channels_last",
        "compiled_contiguous",
        "compiled_channels_last",
        "max-autotune-no-cudagraphs_channels_last",
    ]


class Fails:
    """A pipeline that fails at one of its rounds, or ends its process there; 0 is that of its building."""

    def __init__(self, load: Workload, *, at: int, dies: bool = False) -> None:
        self.rounds_left, self.dies = at, dies

    def train(self) -> None:
        if self.rounds_left == 0 and self.dies:
            os._exit(3)
        if self.rounds_left == 0:
            raise RuntimeError("no kernel\nfor this device")
        self.rounds_left -= 1


@pytest.mark.parametrize(("words", "at"), [(["build"], 0), (["build", "train"], 1)])
def test_pipeline_that_fails_answers_why(words, at):
    mine, theirs = Pipe()
    thread = threading.Thread(target=serve, args=(theirs, partial(Turns, partial(Fails, at=at), workload())))
    thread.start()
    answers = []
    for word in words:
        mine.send(word)
        answers.append(mine.recv())
    thread.join()
    assert [kind for kind, _ in answers[:-1]] == ["done"] * at
    assert answers[-1] == ("failed", "RuntimeError: no kernel")


@pytest.mark.slow
def test_rounds_go_on_without_the_pipelines_that_fail():
    builds = {
        "good": partial(Fails, at=9),
        "bad": partial(Fails, at=0),
        "late": partial(Fails, at=2),
        "dead": partial(Fails, at=1, dies=True),
    }
    rates = run_rounds(builds, workload(), rounds=3)
    assert {name: len(found) for name, found in rates.slices_per_second.items()} == {"good": 3}
    assert rates.left_out == {
        "bad": "RuntimeError: no kernel",
        "late": "RuntimeError: no kernel",
        "dead": "its process ended with status 3",
    }


def test_workload_has_patients_for_the_batches_of_a_round():
    found = workload()
    assert [patient.id for patient in found.patients] == ["P1"]
    assert (found.pack.patient_ids, found.pack.size, found.files) == (("P1",), 64, [])
    assert found.num_batches >= 1


def test_workload_has_no_short_batch():
    patients = [DrawnPatient(id=f"P{number}", number=number) for number in (1, 2, 3, 4)]
    found = make_workload(patients, size=32, batch_size=32, width=2, num_batches=1)
    chosen = epoch_slices(found.pack, np.arange(found.pack.num_slices), seed=0, epoch=0)
    assert len(found.patients) > 1, "one patient has fewer slices than a batch"
    assert len(chosen) >= found.num_batches * found.batch_size


class Lane:
    """A trial that has a share of the cores."""

    def __init__(self, load: Workload) -> None:
        self._train = prepare_lane(load, "cpu", num_lanes=64)

    def train(self) -> None:
        self._train("train")


@pytest.mark.parametrize("build", [lambda load: Program(load, norm="instance"), Lane, Reference])
def test_pipeline_trains_rounds(build):
    pipeline = build(workload())
    pipeline.train()
    pipeline.train()


def test_limit_counts_the_operations_of_its_step():
    wide, narrow = (
        Resident(workload(), norm="batch", layout=torch.channels_last).flops(),
        Resident(workload(), norm="batch", layout=torch.contiguous_format).flops(),
    )
    assert wide == narrow > 1e6


def test_pipeline_that_needs_files_says_so():
    with pytest.raises(Missing, match="slices are TIFF files"):
        Typical(workload())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("training.py", ["--size", "64", "32", "--no-compile"]),
        ("side_by_side.py", ["--size", "64", "--models", "1", "2"]),
    ],
)
def test_runs_with_torch_numpy_opencv_and_albumentations_alone(tmp_path, script, options):
    sizes = ["--width", "2", "--batch-size", "4", "--batches", "1", "--rounds", "2"]
    found = subprocess.run(
        [sys.executable, f"tests/benchmarks/{script}", *options, *sizes],
        cwd=ROOT,
        env=environment_without(OTHERS, tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(found.stdout.splitlines()[-1])
    if script == "side_by_side.py":
        assert result["right"]
        assert result["gain"].keys() == {"1_eager_contiguous", "2_eager_contiguous"}
        return
    assert [one["size"] for one in result["sizes"]] == [64, 32]
    for one in result["sizes"]:
        assert one["left_out"].keys() == {"typical", "monai"}
        assert one["ratio_to_limit"] > 0.1
        assert one["speedup_over_reference"] > 0.1
