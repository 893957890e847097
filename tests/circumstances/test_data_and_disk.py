"""Data that moved, names of any kind, and disks that are full: a sentence that helps, and a way on."""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import DataError
from data.readers.phantom_drawing import write_phantom
from search import promote, tune
from search.cohort import Cohort, read_cohort
from search.config import SearchConfig
from search.experiment import check_changes
from search.record.events import Begin, append_event
from search.record.files import BEST_FOLDER, LOG_FILE
from tests.circumstances.tiny_search import NAME, tiny_search
from tests.support.experiments import write_experiment
from tests.support.sources import config_of, write_lgg
from tests.support.waiting import wait_until


@pytest.fixture
def moved(tmp_path) -> tuple[SearchConfig, Cohort]:
    """The config and the cohort of a search whose patients are in a folder `new` by now instead of `old`."""
    source = tmp_path / "old"
    write_lgg(source)
    config = replace(config_of(source), name="lgg", out=tmp_path / "runs", resume="lgg")
    cohort = read_cohort(config)
    source.rename(tmp_path / "new")
    return config, cohort


@pytest.mark.parametrize(
    ("main", "arguments", "module"),
    [(tune.main, ("--resume", "lgg"), "search.tune --resume"), (promote.main, ("lgg",), "search.promote")],
)
def test_experiment_whose_data_is_gone_says_so_and_how_to_go_on(main, arguments, module, tmp_path, capsys):
    out = tmp_path / "über mein Ordner"
    folder = write_experiment(out, "lgg", config={"data": str(tmp_path / "gone")})
    append_event(folder / LOG_FILE, Begin(number=0, sample={}))
    assert main([*arguments, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"error: the patients of lgg are not at {tmp_path / 'gone'} any more; if they have moved, say" in said
    assert said.endswith(f"python -m {module} lgg --data NEWPATH --out {shlex.quote(str(out))}\n")


def test_search_goes_on_with_patients_that_moved(moved, tmp_path):
    config, cohort = moved
    with pytest.raises(DataError, match=f"the patients of lgg are not at {config.data} any more"):
        read_cohort(config, recorded=cohort.split)
    there = replace(config, data=str(tmp_path / "new"))
    check_changes(there, config)
    assert read_cohort(there, recorded=cohort.split).fingerprint == cohort.fingerprint


def test_search_says_which_patients_have_vanished(moved, tmp_path):
    config, cohort = moved
    (tmp_path / "new").rename(config.data)
    shutil.rmtree(Path(config.data) / "P3")
    with pytest.raises(DataError, match=r"not those that lgg began with: 1 are missing \(P3\); put the old ones back"):
        read_cohort(config, recorded=cohort.split)


def test_search_whose_folder_was_emptied_says_where_the_patients_were(moved):
    config, cohort = moved
    Path(config.data).mkdir()
    with pytest.raises(DataError, match=r"it holds no file\..*; lgg began with the patients there: if they have moved"):
        read_cohort(config, recorded=cohort.split)


def test_search_says_that_it_may_not_read_a_folder(moved, tmp_path):
    config, cohort = moved
    shutil.move(tmp_path / "new", config.data)
    (Path(config.data) / "P1").chmod(0)
    with as_nobody(tmp_path), pytest.raises(DataError) as raised:
        read_cohort(config, recorded=cohort.split)
    assert re.search(r"P1: cannot be listed \(Permission denied\); check that you may read it", str(raised.value))
    assert "--skip-bad-files" not in str(raised.value), "a search that is resumed cannot change it"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_search_whose_data_vanishes_before_promotion_says_so_and_promotes_when_it_is_back(tmp_path):
    data, out = write_phantom(tmp_path, num_patients=6) / "kaggle_3m", tmp_path / "runs"
    with ThreadPoolExecutor() as pool:
        search = pool.submit(tiny_search, out, "--data", str(data))
        wait_until((out / NAME / LOG_FILE).exists, seconds=600)
        data.rename(tmp_path / "elsewhere")
        done = search.result()
    assert done.returncode == 2, done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    assert line.startswith(
        f"error: {NAME} was not promoted, because a file of the patients cannot be used any more ({data}/"
    )
    assert line.endswith(f": python -m search.promote {NAME} --out {out}")
    (tmp_path / "elsewhere").rename(data)
    done = tiny_search(out, "--resume", NAME)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / NAME / BEST_FOLDER / "model.onnx").exists()


@contextmanager
def as_nobody(*folders: Path) -> Iterator[None]:
    """Run the block without the rights of root, for whom no folder is closed."""
    for folder in folders:
        for above in (folder, *folder.parents[:-1]):
            if above.stat().st_uid == os.geteuid():
                above.chmod(above.stat().st_mode | 0o755)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize(
    ("typed", "made", "said"),
    [
        ("kaggel_3m", "kaggle_3m", "does not exist; name a folder of patients (such as {}/kaggle_3m), or"),
        ("Kaggle_3M", "kaggle_3m", "does not exist; name a folder of patients (such as {}/kaggle_3m), or"),
        ("lgg-mri/kaggle_3m", "lgg_mri/kaggle_3m", "(such as {}/lgg_mri/kaggle_3m), or"),
        ("kaggle_3m", "elsewhere", 'kaggle_3m does not exist; name a folder of patients, or "phantom" for'),
        ("kaggle_3m", "kaggle_3m", "has no layout that is known: it holds no file. Name the folder of the patients"),
    ],
)
def test_data_that_does_not_exist_is_answered_with_a_name_that_does(typed, made, said, tmp_path, capsys):
    (tmp_path / made).mkdir(parents=True)
    assert said.format(tmp_path) in error_of(tmp_path / typed, tmp_path, capsys)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("scans.zip", "is an archive; unpack it and name the folder"),
        ("notes.txt", "is a file, but must be a folder; name the folder that holds the patients"),
    ],
)
def test_data_that_is_a_file_is_refused(name, said, tmp_path, capsys):
    (tmp_path / name).write_text("no folder")
    assert said in error_of(tmp_path / name, tmp_path, capsys)


def test_data_that_is_a_folder_of_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to_you.docx").write_text("Dear you")
    assert "it holds 1 .docx file(s) such as to_you.docx. Name the folder" in error_of(
        tmp_path / "letters", tmp_path, capsys
    )


def test_number_of_phantoms_that_is_no_number_is_refused(tmp_path, capsys):
    assert "abc" in error_of("phantom:abc", tmp_path, capsys)


def error_of(data: Path | str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line with which a search refuses its data."""
    assert tune.main(["--data", str(data), "--out", str(tmp_path / "runs"), "--no-cache", "--dry-run"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line
