"""The tiny search: what is said when it fails, and one that succeeds."""

import os

import pytest

from search.doctor.checks.finding import Level
from search.doctor.checks.tiny_search import LOG, NAME, check_tiny_search, explain, run_search


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("Reading patients\nerror: out is '/x', but cannot be written\n", "error: out is '/x', but cannot be written"),
        ("", "it printed nothing"),
        ("one\ntwo\nthree\nfour\n", "two three four"),
    ],
)
def test_failure_is_explained_by_the_first_error(tmp_path, log, words):
    (tmp_path / LOG).write_text(log)
    assert explain(tmp_path) == words


def test_error_of_a_trial_explains_a_search_that_does_not(tmp_path):
    (tmp_path / LOG).write_text("nothing to promote\n")
    (tmp_path / NAME / "errors").mkdir(parents=True)
    (tmp_path / NAME / "errors/t000.txt").write_text("RuntimeError: no kernel\nsecond\nthird\nfourth\n")
    assert explain(tmp_path) == "RuntimeError: no kernel second third"


def test_nothing_is_left_in_a_bucket():
    found = check_tiny_search("s3://bucket/prefix", {"RAY_ADDRESS": "10.0.0.7:6379"})
    assert (found.level, found.value) == (Level.OK, "not run: it would leave files in the bucket")


@pytest.mark.slow  # the search loads its packages before it looks at its options
def test_search_that_fails_keeps_its_log(tmp_path):
    found = run_search(tmp_path, os.environ, "--trials", "0")
    assert found.level is Level.FAIL
    assert "trials is 0, but must be at least 1" in found.value
    assert str(tmp_path / LOG) in found.remedy
    assert (tmp_path / LOG).exists()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1000)
def test_search_that_succeeds_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    folder = tmp_path / "new"
    folder.mkdir()
    found = run_search(folder, os.environ)
    assert found.level is Level.OK, found.value
    assert found.value.startswith("succeeded in ")
    assert [*tmp_path.iterdir()] == []
