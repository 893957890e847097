"""The script for a GPU, and the benchmarks of several workers and trials: figures, limits of time, and CPU paths."""

import json
import subprocess
import sys
import threading
import time
from multiprocessing import Pipe
from pathlib import Path

import pytest

from tests.benchmarks import lanes, scaling, side_by_side, training
from tests.benchmarks.gpu import PARTS, Part, do_part, main
from tests.benchmarks.throughput.processes import Failed, Worker, seconds_together, serve
from tests.benchmarks.throughput.workload import DrawnPatient, Workload, make_workload
from tests.support.few_packages import environment_without

ROOT = Path(__file__).resolve().parents[1]
OTHERS = ("jaxtyping", "tyro", "rich", "tifffile", "ray", "optuna", "wandb", "safetensors", "monai", "pytest")


def workload() -> Workload:
    return make_workload([DrawnPatient(id="P1", number=1)], size=32, batch_size=4, width=2, num_batches=1)


def part(code: str, *, limit_seconds: float = 60, packages: tuple[str, ...] = ()) -> Part:
    return Part(command=("-c", code), options=(), rehearsal=(), limit_seconds=limit_seconds, packages=packages)


def test_part_that_ends_is_done_with_its_last_line(tmp_path):
    found = do_part(part("print('began'); print('{\"a\": 1}')"), "cpu", tmp_path / "log", 60)
    assert (found["state"], found["why"], found["result"]) == ("done", None, {"a": 1})


def test_part_that_fails_says_why_and_keeps_what_it_had_measured(tmp_path):
    found = do_part(part("print('{\"a\": 1}'); raise SystemExit(3)"), "cpu", tmp_path / "part.log", 60)
    assert (found["state"], found["result"]) == ("failed", {"a": 1})
    assert found["why"] == "ended with status 3, see part.log"


def test_part_that_takes_too_long_is_killed_with_what_it_started(tmp_path):
    child = "import os, time; os.fork(); os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)"
    found = do_part(part(child, limit_seconds=1), "cpu", tmp_path / "log", 60)
    assert (found["state"], found["why"]) == ("failed", "not done after 1 s")
    numbers = (tmp_path / "log").read_text().split()
    assert len(numbers) == 2
    deadline = time.monotonic() + 10
    while any(runs(number) for number in numbers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(runs(number) for number in numbers)


def runs(number: str) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{number}/stat").read_text()
    except FileNotFoundError:
        return False


def test_part_without_its_packages_or_time_is_skipped(tmp_path):
    found = do_part(part("", packages=("json", "no_such_package")), "cpu", tmp_path / "log", 60)
    assert found == {"state": "skipped", "why": "it needs no_such_package"}
    assert do_part(part(""), "cpu", tmp_path / "log", 0) == {"state": "skipped", "why": "the time is up"}


def test_run_that_was_cut_off_continues(tmp_path, capsys):
    (tmp_path / "tests_cpu.json").write_text('{"state": "done", "result": "2 passed"}')
    main(["--device", "cpu", "--out", str(tmp_path), "--parts", "tests", "lanes", "--seconds", "0"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["tests"]["result"], result["lanes"]["state"]) == ("2 passed", "skipped")


@pytest.mark.parametrize(
    ("name", "script"),
    [("training", training), ("side_by_side", side_by_side), ("lanes", lanes), ("search", lanes)],
)
def test_options_of_each_part_are_known_to_its_script(name, script, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    on_a_gpu = ["cpu" if word == "cuda" else word for word in PARTS[name].options]
    for options in (on_a_gpu, PARTS[name].rehearsal):
        one_lane = ["--lanes", "1"] if script is lanes else []
        assert script._parse([*PARTS[name].command[1:], *options, *one_lane]).device == "cpu"
    assert all((ROOT / word).exists() for word in PARTS[name].command if word.endswith(".py"))


def test_gain_of_lanes_is_over_the_fewest():
    found = lanes.gains({1: [10.0, 20.0, 10.0], 4: [20.0, 20.0, 30.0]})
    assert found["gain"] == {"1": 1.0, "4": 2.0}
    assert found["slices_per_second"]["4"] == {"median": 20.0, "low": 20.0, "high": 30.0}


def test_efficiencies_are_worked_by_hand():
    rates = {"one": 10.0, "apart": 18.0, "weak": 16.0, "weak_unsynced": 20.0}
    rates |= {"apart_half": 16.0, "strong": 12.0, "strong_unsynced": 15.0}
    assert scaling.efficiencies({name: [rate, rate] for name, rate in rates.items()}) == {
        "weak_efficiency": 0.8,
        "strong_efficiency": 0.6,
        "machine_efficiency": 0.9,
        "weak_gradients": 0.2,
        "strong_gradients": 0.2,
        "weak_exchange": 0.111,
        "strong_exchange": 0.25,
    }


def test_worker_alone_trains_what_it_is_told_to():
    train = scaling.Trainings(workload=workload(), batch_sizes={"one": 4, "half": 2}, augment=0.0)
    for order in ("one", "half", "one"):
        train(order)


@pytest.mark.slow
def test_two_workers_train_with_and_without_exchanging_gradients():
    rates = scaling.measure(workload(), 2, rounds=2, augment=0.0)
    assert {len(found) for found in rates.values()} == {2}
    assert scaling.efficiencies(rates)["weak_efficiency"] > 0


def test_orders_that_a_process_cannot_carry_out_are_told():
    mine, theirs = Pipe()
    thread = threading.Thread(target=serve, args=(theirs, lambda: lambda order: None))
    thread.start()
    process = Ended()
    worker = Worker(process=process, connection=mine)  # pyright: ignore[reportArgumentType]
    assert seconds_together([worker], "train") < 10
    mine.close()
    thread.join()
    mine, theirs = Pipe()
    theirs.close()
    with pytest.raises(Failed, match="its process ended with status 9"):
        seconds_together([Worker(process=process, connection=mine)], "train")  # pyright: ignore[reportArgumentType]


class Ended:
    """A process that has ended."""

    exitcode = 9

    def join(self, timeout: float) -> None:
        pass


@pytest.mark.slow
def test_all_parts_are_rehearsed_where_few_packages_are(tmp_path):
    found = subprocess.run(
        [sys.executable, "tests/benchmarks/gpu.py", "--device", "cpu", "--out", str(tmp_path / "out")],
        cwd=ROOT,
        env=environment_without(OTHERS, tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(found.stdout.splitlines()[-1])
    states = {name: result[name]["state"] for name in PARTS}
    skipped = dict.fromkeys(("tests", "search"), "skipped")
    assert states == {"training": "done", "side_by_side": "done", "lanes": "done", **skipped}
