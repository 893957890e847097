"""The list of experiments: how each stands, the newest first, and a damaged folder is a line like any other."""

import fcntl
import io
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from rich.console import Console

from search.experiment import exclusive_writer
from search.formatting import format_duration
from search.list import main, print_lines, read_line
from search.record.epochs import EpochMetrics
from search.record.experiment_record import read_experiment
from search.record.experiment_record import write_experiment as write_record
from search.record.trials import State, append_row
from search.storage.lock import is_being_written
from search.storage.status import Status, experiment_names, status_of, wall_seconds
from tests.support.fakes import experiment_json, experiment_record, metrics_json, trial_row


def write_experiment(out, name, rows=(), *, metrics=None, started="2026-01-02T03:04:05+00:00", **config):
    """Write the folder of an experiment of four trials, and return it."""
    folder = out / name
    folder.mkdir(parents=True)
    experiment = experiment_record(started=started)
    write_record(folder, replace(experiment, config=experiment.config | config))
    for row in rows:
        append_row(folder / "trials.jsonl", row)
    if metrics:
        (folder / "best").mkdir()
        (folder / "best/metrics.json").write_text(json.dumps(metrics))
    return folder


def timed(number, *seconds, **changes):
    epochs = [EpochMetrics(epoch=i, val_dice=i / 8, elapsed_seconds=at) for i, at in enumerate(seconds, start=1)]
    return trial_row(number, [], epochs=epochs, **changes)


ALL = [timed(0, 1.0, 9.0), timed(1, 2.0, state=State.PRUNED), timed(2, state=State.FAILED), timed(3, 95.4)]


def listed(capsys, out) -> list[str]:
    assert main(["--out", str(out)]) == 0
    return capsys.readouterr().out.splitlines()


def test_list_says_the_status_of_each_what_it_spent_and_its_best_dice(tmp_path, capsys):
    write_experiment(tmp_path, "mine", ALL, metrics=metrics_json())
    header, line = listed(capsys, tmp_path)
    assert " ".join(header.split()) == "experiment status data trials epochs val Dice test Dice began wall clock"
    assert line.split() == [
        *("mine", "promoted", "kaggle_3m", "4/4", "2C", "1P", "1F", "4", "0.2500", "0.8125", "2026-01-02", "03:04"),
        *("1", "min", "35", "s"),
    ]


def test_list_has_the_newest_first_whatever_their_time_zones(tmp_path, capsys):
    write_experiment(tmp_path, "a", started="2026-01-02T12:00:00+00:00")
    write_experiment(tmp_path, "b", started="2026-01-02T13:00:00+02:00")  # an hour before a
    write_experiment(tmp_path, "c", started="2026-01-03T00:00:00+00:00")
    assert [line.split()[0] for line in listed(capsys, tmp_path)[1:]] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("rows", "config", "promoted", "expected"),
    [
        ([], {}, False, Status.INTERRUPTED),
        (ALL[:3], {}, False, Status.INTERRUPTED),
        (ALL[:3], {}, True, Status.INTERRUPTED),  # of an earlier leg of the search
        (ALL, {}, False, Status.FINISHED),
        (ALL, {}, True, Status.PROMOTED),
        ([*ALL[:3], timed(3, 3.0, state=State.PRUNED, error="interrupted")], {}, True, Status.INTERRUPTED),
        ([*ALL[:1], timed(1, 2.0, error="time budget spent")], {"time_budget_seconds": 60}, True, Status.PROMOTED),
        (ALL[:2], {"time_budget_seconds": 9.0}, False, Status.FINISHED),
        (ALL[:2], {"time_budget_seconds": 9.5}, False, Status.INTERRUPTED),
        (ALL, {"trials": 5}, True, Status.INTERRUPTED),  # resumed with more
    ],
)
def test_status_of(tmp_path, rows, config, promoted, expected):
    folder = write_experiment(tmp_path, "x", rows, metrics=metrics_json() if promoted else None, **config)
    assert status_of(folder, read_experiment(folder), rows) == expected


def test_status_is_running_while_another_process_holds_the_folder(tmp_path):
    folder = write_experiment(tmp_path, "x", ALL, metrics=metrics_json())
    holder = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", holder, str(folder / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert read_line(folder).cells["status"] == "running"
        process.communicate(b"\n")
    assert read_line(folder).cells["status"] == "promoted"


def test_looking_at_a_folder_does_not_keep_a_writer_out(tmp_path):
    (tmp_path / "lock").touch()
    looker = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(looker, fcntl.LOCK_SH)
    letting_go = threading.Timer(0.03, fcntl.flock, (looker, fcntl.LOCK_UN))
    letting_go.start()
    with exclusive_writer(tmp_path):
        assert is_being_written(tmp_path)
    letting_go.join()
    os.close(looker)
    assert not is_being_written(tmp_path)


def test_is_held_of_a_folder_without_a_lock_is_false(tmp_path):
    assert not is_being_written(tmp_path)
    assert list(tmp_path.iterdir()) == []


DAMAGES = {
    "no config": (None, b""),
    "config is cut off": (b'{"config": {', b""),
    "config is no text": (b"\xff\xfe\x00", b""),
    "config is a list": (b"[]", b""),
    "config lacks all": (b'{"config": {}}', b""),
    "config is deep": (b"[" * 100_000, b""),
    "table is no table": (json.dumps(experiment_json()).encode(), b"[1]\n"),
    "table has no such state": (
        json.dumps(experiment_json()).encode(),
        b'{"id": "t000", "number": 0, "state": "WELL"}\n',
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_list_has_a_line_for_a_damaged_experiment_and_says_why(tmp_path, capsys, damage):
    config, table = DAMAGES[damage]
    write_experiment(tmp_path, "good", ALL)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/events.jsonl").touch()
    if config is not None:
        (tmp_path / "bad/config.json").write_bytes(config)
    (tmp_path / "bad/trials.jsonl").write_bytes(table)
    lines = listed(capsys, tmp_path)
    assert {tuple(line.split()[:2]) for line in lines[1:3]} == {("bad", "damaged"), ("good", "finished")}
    assert lines[3].startswith("bad is damaged: ")
    assert len(lines[3]) < 500


def test_list_of_a_folder_whose_name_a_terminal_would_obey(tmp_path, capsys):
    for name in (b"red\x1b[31m\nline", b"\xff"):
        folder = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(folder)
        open(os.path.join(folder, b"config.json"), "w").close()
    lines = listed(capsys, tmp_path)
    assert {line.split()[0] for line in lines[1:3]} == {"red\ufffd[31m\ufffdline", "\ufffd"}


def test_list_says_that_metrics_are_damaged(tmp_path, capsys):
    folder = write_experiment(tmp_path, "mine", ALL, metrics=metrics_json())
    (folder / "best/metrics.json").write_text("{}")
    assert read_line(folder).damage == f"{folder}/best/metrics.json: trial is missing"


def test_list_an_undefined_test_dice_is_a_dash(tmp_path):
    metrics = metrics_json()
    metrics["test"]["dice"] = metrics["test"]["dice"] | {"mean": None}
    assert read_line(write_experiment(tmp_path, "mine", ALL, metrics=metrics)).cells["test Dice"] == "-"


def test_list_tells_experiments_from_other_folders(tmp_path):
    write_experiment(tmp_path, "b")
    (tmp_path / "phantom_v1_seed0_24/PHANTOM_0001").mkdir(parents=True)
    (tmp_path / "compare-a-b.html").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a/lock").touch()  # killed before it had a config
    assert experiment_names(tmp_path) == ["a", "b"]


def test_list_of_nothing_says_so(tmp_path, capsys):
    assert listed(capsys, tmp_path) == [f"no experiments in {tmp_path}: python -m search.tune makes one"]


def test_list_of_no_folder_is_a_mistake_of_the_user(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "nowhere")]) == 2
    assert f"error: --out {tmp_path / 'nowhere'} cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (116, ""),
        (115, "wall clock"),
        (100, "epochs, wall clock"),
        (90, "data, epochs, wall clock"),
        (80, "data, trials, epochs, wall clock"),
        (60, "data, trials, epochs, began, wall clock"),
    ],
)
def test_list_fits_a_narrow_terminal(tmp_path, width, left_out):
    lines = [read_line(write_experiment(tmp_path, name, ALL)) for name in ("short", "a-name-of-thirty-characters-oh")]
    console = Console(width=width, record=True, file=io.StringIO())
    print_lines(lines, console)
    table, _, note = console.export_text().partition("\n(")
    assert max(len(line) for line in table.splitlines()) <= width
    assert table.splitlines()[1].split()[:2] == ["short", "finished"]
    assert note == (f"A wider terminal, or a pipe, shows {left_out} as well.)\n" if left_out else "")


def test_list_of_many_experiments_is_fast(tmp_path):
    rows = [trial_row(number, [0.5] * 20) for number in range(100)]
    write_experiment(tmp_path, "mine", rows)
    seconds = []
    for _ in range(20):
        started = time.thread_time()  # unlike a clock, it stands still while other processes have the CPU
        assert read_line(tmp_path / "mine").cells["epochs"] == "2000"
        seconds.append(time.thread_time() - started)
    assert min(seconds) < 0.1  # 8 ms on a quiet machine


def test_list_needs_neither_ray_nor_torch():
    program = "import sys, search.list; print(sorted({'ray', 'torch', 'optuna', 'plotly'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"[]\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text


def test_wall_seconds_of_nothing_is_zero():
    assert wall_seconds([]) == wall_seconds([trial_row(0, [0.5])]) == 0.0
    assert wall_seconds(ALL) == 95.4
