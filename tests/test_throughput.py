"""The benchmark of training speed: its ratios, and that it runs where few packages are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.throughput.own import Program, Resident
from tests.benchmarks.throughput.peers import Missing, Reference, Typical
from tests.benchmarks.throughput.rounds import Rates
from tests.benchmarks.throughput.workload import DrawnPatient, Workload, make_workload
from tests.benchmarks.training import ratios

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


def test_workload_has_patients_for_the_batches_of_a_round():
    found = workload()
    assert [patient.id for patient in found.patients] == ["P1"]
    assert (found.pack.patient_ids, found.pack.size, found.files) == (("P1",), 64, [])
    assert found.num_batches >= 1


@pytest.mark.parametrize("build", [lambda load: Program(load, norm="instance"), Reference])
def test_pipeline_trains_rounds(build):
    pipeline = build(workload())
    pipeline.train()
    pipeline.train()


def test_limit_counts_the_operations_of_its_step():
    import torch

    wide, narrow = (
        Resident(workload(), norm="batch", layout=torch.channels_last).flops(),
        Resident(workload(), norm="batch", layout=torch.contiguous_format).flops(),
    )
    assert wide == narrow > 1e6


def test_pipeline_that_needs_files_says_so():
    with pytest.raises(Missing, match="slices are TIFF files"):
        Typical(workload())


@pytest.mark.slow
def test_runs_with_torch_numpy_opencv_and_albumentations_alone(tmp_path):
    blocker = (
        "import sys\n"
        "class Blocked:\n"
        f"    names = {OTHERS!r}\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in self.names:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
    )
    (tmp_path / "sitecustomize.py").write_text(blocker)
    sizes = ["--size", "64", "--width", "2", "--batch-size", "4", "--batches", "1", "--rounds", "2", "--no-compile"]
    found = subprocess.run(
        [sys.executable, "tests/benchmarks/training.py", *sizes],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(found.stdout.splitlines()[-1])
    assert result["left_out"].keys() == {"typical", "monai"}
    assert result["ratio_to_limit"] > 0.1
    assert result["speedup_over_reference"] > 0.1
