"""GPUs that torch uses, and the reasons why it does not use one that is there; all of them made up."""

from dataclasses import replace

import pytest

from search.doctor.checks.finding import Level
from search.doctor.checks.training import judge_gpus
from search.doctor.facts.gpus import Gpu, TorchFacts
from search.doctor.facts.nvidia import Nvidia, find_nvidia, read_answer

CPU = TorchFacts(
    version="2.13.0+cpu",
    cuda="",
    problem="",
    gpus=(),
    device="cpu",
    precision="float32",
    layout="channels_last",
)
GPU = Gpu(name="NVIDIA H200", total=150e9, free=149e9, capability="9.0", problem="")
CUDA = replace(CPU, version="2.13.0+cu130", cuda="13.0")
WORKS = replace(CUDA, gpus=(GPU,), device="cuda", precision="bf16")
ONE = Nvidia(count=1, names=("NVIDIA H200",), driver="580.10")


def test_gpu_that_works_is_used():
    gpu, uses = judge_gpus(WORKS, ONE, {})
    assert gpu.level is Level.OK
    assert gpu.value == "NVIDIA H200, 149.0 GB free of 150.0 GB, compute capability 9.0"
    assert uses.value == "the GPU, in bf16, with images in memory as channels_last"


def test_machine_without_a_gpu_is_well():
    gpu, uses = judge_gpus(CPU, Nvidia(count=0), {})
    assert (gpu.level, uses.value) == (Level.OK, "the processor, in float32, with images in memory as channels_last")


@pytest.mark.parametrize(
    ("facts", "nvidia", "environment", "value", "remedy"),
    [
        (CPU, ONE, {}, "torch 2.13.0+cpu is a build for processors alone", "build of torch 2.13.0 for CUDA"),
        (CUDA, ONE, {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES is '', which hides all", "unset CUDA_VIS"),
        (CUDA, ONE, {"CUDA_VISIBLE_DEVICES": "-1"}, "CUDA_VISIBLE_DEVICES is '-1'", "unset CUDA_VIS"),
        (
            replace(CUDA, problem="CUDA initialization: The NVIDIA driver on your system is too old (found 11040)."),
            ONE,
            {},
            "driver 580.10 is too old for CUDA 13.0",
            "update the driver",
        ),
        (replace(CUDA, problem="CUDA unknown error"), ONE, {}, "CUDA unknown error", "restart"),
        (CUDA, Nvidia(count=2, problem="no driver is installed", remedy="install it"), {}, "2 in this", "install it"),
    ],
)
def test_gpu_that_torch_cannot_use_is_told_with_the_cause(facts, nvidia, environment, value, remedy):
    gpu, uses = judge_gpus(facts, nvidia, environment)
    assert gpu.level is Level.WARN  # a search works on the processor
    assert value in gpu.value
    assert remedy in gpu.remedy
    assert uses.value.startswith("the processor")


@pytest.mark.parametrize(
    ("gpu", "level", "remedy"),
    [
        (replace(GPU, problem="CUDA error: no kernel image is available for execution"), Level.FAIL, "no code for it"),
        (replace(GPU, problem="CUDA out of memory."), Level.FAIL, "nvidia-smi"),
        (replace(GPU, free=1e9), Level.WARN, "other programs"),
    ],
)
def test_gpu_that_cannot_compute_is_a_failure(gpu, level, remedy):
    found = judge_gpus(replace(WORKS, gpus=(gpu,)), ONE, {})[0]
    assert found.level is level
    assert remedy in found.remedy


def test_some_of_several_gpus_are_named_by_the_variable():
    found = judge_gpus(WORKS, replace(ONE, count=4), {"CUDA_VISIBLE_DEVICES": "2"})[1]
    assert found.value == "'2': torch sees 1 of 4 GPUs"


def test_nvidia_smi_lists_gpus_and_the_driver():
    found = read_answer(0, "NVIDIA A100, 40GB, 550.54\nNVIDIA A100, 40GB, 550.54\n", count=0)
    assert (found.count, found.driver, found.names[0]) == (2, "550.54", "NVIDIA A100, 40GB")


@pytest.mark.parametrize(
    ("text", "count", "remedy"),
    [
        ("Failed to initialize NVML: Driver/library version mismatch", 1, "restart the machine"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 0, "install NVIDIA's driver"),
    ],
)
def test_nvidia_smi_that_fails_is_quoted(text, count, remedy):
    found = read_answer(9, text, count=0)
    assert (found.count, found.driver) == (count, "")
    assert text in found.problem
    assert found.remedy.startswith(remedy)


def test_cards_are_found_on_the_bus(tmp_path, monkeypatch):
    for number, (kind, maker) in enumerate([("0x030200", "0x10de"), ("0x020000", "0x10de"), ("0x030000", "0x1002")]):
        (tmp_path / f"0000:0{number}").mkdir()
        (tmp_path / f"0000:0{number}/class").write_text(f"{kind}\n")
        (tmp_path / f"0000:0{number}/vendor").write_text(f"{maker}\n")
    monkeypatch.setenv("PATH", str(tmp_path))  # without nvidia-smi
    found = find_nvidia(tmp_path)
    assert (found.count, found.has_other, found.problem) == (1, True, "no driver is installed")
