"""The contest of `tests/benchmarks/quality.py`: every entrant runs, and a run continues where it stopped."""

import json
import time

import numpy as np
import pytest
import torch

from data.errors import UserError
from tests.benchmarks import quality
from tests.benchmarks.entrants import reference_recipe as reference
from tests.benchmarks.entrants.contest import ENTRANTS, Entrant, Score, Task, compete
from tests.benchmarks.quality import Arguments, main, run_entrant
from tests.support.fakes import write_lgg_patient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def patients(tmp_path_factory) -> tuple[str, str]:
    """Two folders of tiny patients: five to train on, two to score on."""
    root = tmp_path_factory.mktemp("patients")
    for side, number in (("train", 5), ("test", 2)):
        for index in range(number):
            write_lgg_patient(root / side, f"{side.upper()}_{index}", height=32, width=32, seed=index)
    return str(root / "train"), str(root / "test")


def arguments(patients: tuple[str, str], **changes) -> Arguments:
    return Arguments(**{"data": patients[0], "test": patients[1], "minutes": 0.05, "size": 64, **changes})


def check(score: Score, entrant: str) -> None:
    assert score.entrant == entrant
    assert sorted(score.dice) == ["TEST_0", "TEST_1"]
    assert all(0 <= dice <= 1 for dice in score.dice.values())
    json.dumps(score.facts)


@pytest.mark.parametrize("entrant", ["default", "default_ensemble", "reference"])
def test_entrant_trains_until_its_time_is_up(patients, tmp_path, entrant):
    task = Task(
        entrant=entrant,
        data=patients[0],
        test=patients[1],
        minutes=0.03,
        started=time.time(),
        folder=tmp_path,
        size=64,
        reference_size=32,
        search_options=(),
    )
    score = compete(task)
    check(score, entrant)
    assert 1 < score.seconds < 20  # 1.8 and the batch that it ends with, which takes longer on a busy machine
    assert score.facts["trainings"] in ((1, 2) if entrant == "default_ensemble" else (1,))


@pytest.mark.slow
@pytest.mark.parametrize(("entrant", "package"), [("monai", "monai"), ("nnunet", "nnunetv2")])
def test_peer_trains_in_a_process_of_its_own(patients, entrant, package):
    pytest.importorskip(package)
    check(run_entrant(arguments(patients, minutes=0.3), entrant), entrant)


@pytest.mark.ray
@pytest.mark.slow  # slow, because only the benchmark uses what no other test has searched with
def test_search_predicts_with_its_exported_model(patients):
    # The later budget counts: a budget of time is never shorter than what a search takes beside its trainings.
    options = ("--budget=3 epochs", "--width=2", "--tracking=off")
    score = run_entrant(arguments(patients, search_options=options), "ours")
    check(score, "ours")
    assert score.facts["winner"]


def fake(calls: list[str], broken: tuple[str, ...] = ()):
    def run(arguments: Arguments, name: str) -> Score:
        calls.append(name)
        if name in broken:
            raise RuntimeError(f"{name} is broken")
        return Score(entrant=name, seconds=1.0, dice={"A": 0.5, "B": 0.7}, facts={"epochs": 1})

    return run


def test_contest_continues_where_it_stopped(patients, tmp_path, monkeypatch, capsys):
    calls: list[str] = []
    wanted = arguments(patients, entrants=("ours", "default"), out=tmp_path / "out.jsonl")
    monkeypatch.setattr(quality, "run_entrant", fake(calls, broken=("default",)))
    assert main(wanted) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["failed"] == ["default"]
    monkeypatch.setattr(quality, "run_entrant", fake(calls))
    assert main(wanted) == 0
    assert calls == ["ours", "default", "default"]
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["dice_ours"], found["dice_default"], found["gain_over_best"]) == (0.6, 0.6, 0.0)
    assert (found["data"], found["test"], found["minutes"], found["failed"]) == ("train", "test", 0.05, [])
    assert {"commit", "cores"} <= found.keys()
    with pytest.raises(UserError, match=r"out\.jsonl was made with another size: choose another file"):
        main(arguments(patients, size=128, out=wanted.out))


def test_entrant_whose_package_is_missing_is_left_out_with_a_sentence(patients, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(ENTRANTS, "monai", Entrant(module="", function="", packages=("no_such_package",)))
    assert main(arguments(patients, entrants=("monai",), out=tmp_path / "out.jsonl")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "monai is left out: no_such_package is not installed"
    assert json.loads(lines[-1])["dice_monai"] is None


def test_contest_refuses_patients_that_are_on_both_sides(patients, tmp_path):
    with pytest.raises(UserError, match="must not be trained on, but TRAIN_0, TRAIN_1, TRAIN_2, TRAIN_3, TRAIN_4 are"):
        main(arguments((patients[0], patients[0]), out=tmp_path / "out.jsonl"))
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 0.0}, "minutes is 0.0, but must be above 0"),
        ({"entrants": ("us",)}, "entrants are us, but must be"),
    ],
)
def test_contest_refuses_an_option(patients, changes, message):
    with pytest.raises(UserError, match=message):
        arguments(patients, **changes)


def test_reference_draws_slices_by_the_area_of_their_tumour():
    masks = np.zeros((3, 10, 10), np.float32)
    assert reference.draw_weights(masks) == pytest.approx([1 / 3] * 3)
    masks[1, :3] = 1  # 30 pixels: 10 a slice on average, of which each slice has a tenth
    assert reference.draw_weights(masks) == pytest.approx([1 / 33, 31 / 33, 1 / 33])


def test_reference_loss_is_dice_over_the_whole_batch():
    probability, masks = torch.zeros(2, 2, 2), torch.zeros(2, 2, 2)
    assert reference.dice_loss(probability, masks).item() == 0.0
    probability[0], masks[0, 0], masks[1, 0, 0] = 1.0, 1.0, 1.0
    assert reference.dice_loss(probability, masks).item() == pytest.approx(1 - (2 * 2 + 1) / (4 + 3 + 1))


def test_reference_prepares_the_head_alone_and_masks_like_it():
    images = np.zeros((4, 20, 30, 3), np.uint8)
    images[1:3, 5:15, 10:16] = np.random.default_rng(0).integers(100, 200, (2, 10, 6, 3))
    images[0, 0, 0] = 5  # too dark to be head
    prepared = reference.prepare(images, 40)
    assert prepared.box == (slice(1, 3), slice(5, 15), slice(10, 16))
    assert prepared.images.shape == (2, 40, 40, 3)
    assert prepared.images.dtype == np.float32
    assert prepared.images.mean(axis=(0, 1, 2)) == pytest.approx(0, abs=1e-4)
    assert prepared.images.std(axis=(0, 1, 2)) == pytest.approx(1, abs=1e-3)
    masks = np.zeros((4, 20, 30), bool)
    masks[1, 5:15, 10:13] = True  # the left half of the head, which is padded by two on either side
    fitted = prepared.fit(masks)
    assert fitted[0].mean(axis=0) == pytest.approx([0.0] * 8 + [1.0] * 12 + [0.0] * 20)
    assert not fitted[1].any()


def test_reference_has_the_published_number_of_parameters():
    assert sum(parameter.numel() for parameter in reference.UNet(3).parameters()) == 7_763_041
