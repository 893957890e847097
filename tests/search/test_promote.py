"""`search.promote` on an experiment that was promoted before."""

import io
import re
import shutil
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from model.export.tracing import ExportError
from model.manifest import verify_manifest
from model.training.checkpoint import load_checkpoint
from model.weights import read_weights
from search.cluster.task_runner import TaskRunner
from search.promote import main
from search.record.trials import append_row
from tests.support.delivered import Delivered, read_json
from tests.support.fakes import head_of, write_lgg_patient

pytestmark = pytest.mark.slow


def copy_of(delivered: Delivered, folder: Path) -> Path:
    """Return a copy of the experiment's folder, to be promoted again."""
    shutil.copytree(delivered.config.folder, folder)
    for row in delivered.rows:
        append_row(folder / "trials.jsonl", row)
    return folder


@pytest.fixture
def copied(delivered, tmp_path) -> Path:
    return copy_of(delivered, tmp_path / "runs" / "tiny")


@pytest.fixture(scope="module")
def again(delivered, tmp_path_factory) -> SimpleNamespace:
    """A copy under another name that was promoted again, what it said before, and what was said on the screen."""
    folder = copy_of(delivered, tmp_path_factory.mktemp("again") / "other")
    before = read_json(folder / "best" / "metrics.json")
    (folder / "best" / "stranger").touch()
    with redirect_stdout(io.StringIO()) as screen:
        assert main(["other", "--out", str(folder.parent), "--no-choose", "--ties", "best"]) == 0
    return SimpleNamespace(folder=folder, before=before, screen=screen.getvalue())


def test_promote_again_replaces_the_model_and_counts_the_scoring(again):
    after = read_json(again.folder / "best" / "metrics.json")
    assert (after["choices"], after["threshold"], after["num_test_scorings"]) == ([], 0.5, 2)
    assert after["candidates"] == again.before["candidates"]
    assert "scored 2 times" in " ".join((again.folder / "report.html").read_text().split())
    assert "Test Dice" in again.screen
    verify_manifest(again.folder / "best")
    assert {path.name for path in again.folder.iterdir() if path.name.startswith("best")} == {"best"}


def test_promote_of_a_copy_names_the_copy(again):
    best = again.folder / "best"
    assert verify_manifest(best).provenance.experiment == "other"
    assert f"python -m model.predict {best}" in (best / "card.md").read_text()


def test_promote_that_fails_leaves_the_earlier_model(copied, monkeypatch):
    def fail(*arguments, **options):
        raise ExportError("no such operator")

    monkeypatch.setattr("search.promotion.best_folder.export_onnx", fail)
    assert main(["tiny", "--out", str(copied.parent)]) == 1
    verify_manifest(copied / "best")
    assert {path.name for path in copied.iterdir() if path.name.startswith("best")} == {"best"}
    assert read_json(copied / "best" / "metrics.json")["num_test_scorings"] == 1


def test_promote_keeps_the_traceback_of_a_fault_of_the_program(copied, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise ValueError("a planted fault")

    monkeypatch.setattr("search.promotion.best_folder.choose_inference", fail)
    assert main(["tiny", "--out", str(copied.parent)]) == 1
    said = capsys.readouterr().err
    assert "this is a fault of the program" in said
    found = re.search(r"please report it with (\S+)", said)
    assert found is not None
    report = Path(found[1])
    assert 'raise ValueError("a planted fault")' in report.read_text()
    assert "No model was promoted: a planted fault" in (copied / "report.html").read_text()
    report.unlink()


def test_promote_restores_the_model_that_a_killed_promotion_moved(copied, monkeypatch):
    def fail(*arguments, **options):
        raise ExportError("no such operator")

    monkeypatch.setattr("search.promotion.best_folder.export_onnx", fail)
    (copied / "best").rename(copied / "best.before")
    assert main(["tiny", "--out", str(copied.parent)]) == 1
    verify_manifest(copied / "best")
    assert "no such operator" in (copied / "report.html").read_text()


@pytest.mark.slow
def test_promote_with_final_seeds_exports_the_networks_trained_on_more_patients(copied, monkeypatch, capsys):
    monkeypatch.setattr("search.promote.open_task_runner", lambda *_, **__: nullcontext(TaskRunner(None)))
    before = read_json(copied / "best" / "metrics.json")
    assert main(["tiny", "--out", str(copied.parent), "--final-seeds", "2"]) == 0
    after = read_json(copied / "best" / "metrics.json")
    assert (after["name"], after["num_networks"], len(after["final"]["networks"])) == ("t000", 2, 2)
    assert after["validation_patients"] == before["validation_patients"], "they are scored by the trial's own network"
    assert [choice["name"] for choice in after["choices"]] == ["component_share"]
    assert (after["threshold"], after["temperature"], after["flips"]) == (0.5, 1.0, False)
    exported = read_weights(copied / "best" / "weights.safetensors").networks
    trained = [load_checkpoint(copied / "final" / f"{name}.pt")[0] for name in after["final"]["networks"]]
    for one, other in zip(exported, trained, strict=True):
        assert torch.equal(head_of(one).weight, head_of(other).weight)
    verify_manifest(copied / "best")
    said = "the average of 2 networks with the winning configuration, trained for 9 epochs on all"
    assert said in capsys.readouterr().out
    assert said in (copied / "report.html").read_text()


def test_promote_refuses_more_folds_than_patients_before_it_trains(copied, capsys):
    assert main(["tiny", "--out", str(copied.parent), "--folds", "50", "--final-seeds", "1"]) == 2
    assert "folds is 50, but there are" in capsys.readouterr().err
    assert not (copied / "final").exists()


def test_promote_without_a_checkpoint_says_so_and_reports(copied, capsys):
    (copied / "state.pt").unlink()
    assert main(["tiny", "--out", str(copied.parent)]) == 1
    assert "nothing to promote: none of 1 checkpoints can be read" in capsys.readouterr().err
    assert "No model was promoted" in (copied / "report.html").read_text()


def test_promote_refuses_what_it_cannot_promote(copied, tmp_path, capsys):
    write_lgg_patient(tmp_path / "others", "Q", seed=1)
    for options, words in (
        (["nothing"], "is not an experiment of this program"),
        (["tiny", "--candidates", "0"], "candidates is 0, but must be from 1 to 5"),
        (["tiny", "--data", str(tmp_path / "nowhere")], "nowhere does not exist"),
    ):
        try:
            status = main([*options, "--out", str(copied.parent)])
        except SystemExit as ended:
            status = ended.code
        assert status == 2
        assert words in re.sub(r"[\s│]+", " ", capsys.readouterr().err)
