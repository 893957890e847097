"""A search for several regions, from the data to the comparison: real Ray, and every file that people read."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

import model.predict.__main__ as predict
from data.regions import parse_regions, to_labels
from search.promote import main as promote
from search.record.trials import read_rows
from search.report.__main__ import main as report
from search.result import load
from search.tune import main as tune
from tests.support.html_page import HtmlPage

pytestmark = [pytest.mark.ray, pytest.mark.slow]

REGIONS = ("WT=1,2,4", "TC=1,4", "ET=4")
TINY = ("--size", "64", "--width", "4", "--trials", "1", "--max-epochs", "2", "--no-cache", "--tracking", "offline")


def write_cases(source: Path) -> None:
    """Write eight patients whose tumours have three rings, each brighter than the one around it."""
    rows, columns = np.mgrid[:32, :32]
    for number in range(8):
        rng = np.random.default_rng(number)
        distance = np.hypot(rows - 14 - number % 4, columns - 16)
        labels = np.zeros((32, 32, 4), np.uint8)
        for radius, label in ((9, 2), (6, 1), (3, 4)):
            labels[distance < radius, 1:3] = label
        images = rng.normal(100, 10, labels.shape) + 40 * np.array([0, 2, 1, 0, 3])[labels]
        case = source / f"P{number}"
        case.mkdir(parents=True)
        for role, values in (("flair", images), ("t1", images / 2), ("seg", labels)):
            image = nibabel.Nifti1Image(values.astype(np.uint8), np.eye(4))
            nibabel.save(image, case / f"P{number}_{role}.nii.gz")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Return the folder of a search for three regions, with a final training."""
    folder = tmp_path_factory.mktemp("regions")
    write_cases(folder / "data")
    options = ("--data", str(folder / "data"), "--out", str(folder / "runs"), *TINY)
    assert tune(["smoke", *options, "--name", "three", "--regions", *REGIONS]) == 0
    return folder


def test_every_trial_has_the_dice_of_each_region_and_their_mean(searched):
    for row in read_rows(searched / "runs" / "three" / "trials.jsonl"):
        for epoch in row.epochs:
            dices = [epoch.others[f"val_dice_{name}"] for name in ("WT", "TC", "ET")]
            assert epoch.val_dice == pytest.approx(np.mean(dices), abs=1e-6)


def test_table_has_the_dice_of_each_region(searched):
    table = load(searched / "runs" / "three").trials
    assert table.columns.tolist()[1:5] == ["val_dice", "val_dice_WT", "val_dice_TC", "val_dice_ET"]
    assert table.loc["t000", "val_dice"] == pytest.approx(table.iloc[0, 2:5].mean(), abs=1e-6)


def test_metrics_card_and_report_show_each_region(searched):
    best = searched / "runs" / "three" / "best"
    metrics = json.loads((best / "metrics.json").read_text())
    assert set(metrics["test"]["by_region"]) == set(metrics["region_thresholds"]) == {"WT", "TC", "ET"}
    assert set(metrics["assessment"]["calibration_by_region"]) == {"WT", "TC", "ET"}
    by_region = [metrics["test"]["by_region"][name]["dice"]["mean"] for name in ("WT", "TC", "ET")]
    assert metrics["test"]["dice"]["mean"] == pytest.approx(np.mean(by_region), abs=1e-6)
    card = (best / "card.md").read_text()
    assert "| WT | 1, 2, 4 |" in card
    assert "each batch x regions x height x width" in card
    assert report(["three", "--out", str(searched / "runs")]) == 0
    page = HtmlPage((searched / "runs" / "three" / "report.html").read_text())
    assert [trace["name"] for trace in page.traces["region_curves"]] == ["WT", "TC", "ET"]
    assert page.row("WT")


def test_prediction_writes_the_labels_of_the_data(searched, tmp_path):
    best = str(searched / "runs" / "three" / "best")
    assert predict.main([best, str(searched / "data"), "--out", str(tmp_path), "--no-overlays"]) == 0
    found = np.asarray(nibabel.Nifti1Image.from_filename(tmp_path / "P0" / "P0_mask.nii.gz").dataobj)
    assert set(np.unique(found)) <= {0, 1, 2, 4}
    table = (tmp_path / "volumes.csv").read_text().splitlines()
    assert table[0].endswith("WT_pixels,WT_ml,TC_pixels,TC_ml,ET_pixels,ET_ml")
    regions = parse_regions(REGIONS)
    assert to_labels(np.zeros((3, 1), bool), regions).tolist() == [0]


def test_folds_race_candidates_of_several_regions(searched):
    arguments = ["three", "--out", str(searched / "runs"), "--folds", "2", "--final-seeds", "2", "--final-epochs", "2"]
    assert promote(arguments) == 0
    metrics = json.loads((searched / "runs" / "three" / "best" / "metrics.json").read_text())
    assert metrics["cross_validation"]["num_folds"] == 2
    assert set(metrics["cross_validation"]["summary"]["by_region"]) == {"WT", "TC", "ET"}
