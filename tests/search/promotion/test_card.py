"""The model card and the last lines on the screen: every number where a person looks for it, and nothing untrue."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from data.preprocess import Preprocessing
from data.regions import parse_regions
from model.export.onnx_export import export_onnx
from model.export.predictor import Predictor, torch_network
from model.inference.volume import predict_volume
from model.networks import NETWORKS, Architecture
from model.settings import Settings
from model.unet import UNet, UNetConfig
from model.weights import write_weights
from search.config import SearchConfig
from search.promotion.card import FILES, write_card
from search.promotion.summary import print_summary
from search.record.trials import State
from tests.support.fakes import experiment_json, experiment_record, metrics_json, model_metrics, trial_row

ROWS = [trial_row(0, [0.25], state=State.PRUNED), trial_row(1, [0.5, 0.75]), trial_row(2, [], state=State.FAILED)]
SETTINGS = Settings(preprocessing=Preprocessing(size=32), channel_names=("pre", "flair", "post"), threshold=0.4)


def make_card(*, metrics=None, config=None, settings=SETTINGS, files=tuple(FILES), **changes) -> str:
    experiment, config = experiment_record(**changes), SearchConfig(name="small", seed=7) if config is None else config
    scores = model_metrics(**metrics or {})
    return write_card(experiment, config, scores, ROWS, ROWS[1], settings=settings, files=files)


def of_format(name: str, **changes) -> str:
    return in_one_line(make_card(data=experiment_json()["data"] | {"format": name}, **changes))


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def test_card_has_a_line_of_scores_for_every_metric():
    test = metrics_json()["test"] | {
        "distance_unit": "mm",
        "hd95": {"mean": 4.5, "median": 3.0, "low": 2.0, "high": math.inf, "num_patients": 1},
    }
    card = make_card(metrics={"test": test})
    assert "## Scores on 2 test patients" in card
    assert "| dice | 0.8125 | 0.5000 to 0.8750 | 0.7500 | 2 |" in card
    assert "| iou | 0.2500 | - | 0.2500 |" in card
    assert "| hd95 in mm | 4.5000 | - | 3.0000 | 1 |" in card
    assert all(f"| {name} | " in card for name in ("precision", "recall", "accuracy"))


def test_card_says_how_the_winner_was_found():
    card = in_one_line(make_card())
    assert "3 trials (1 COMPLETE, 1 PRUNED, 1 FAILED)" in card
    assert "The winner is t001" in card
    assert "0.6875 when it was scored again, and 0.7500 during training." in card
    assert "is less than one standard error of the difference below the best, the network" in card
    assert "| learning_rate | 0.0001 to 0.01, log | 0.002 |" in card
    two = SearchConfig(name="small", seed=7, objective=("val_dice", "latency_ms"))
    assert "at most 0.01 below the best, it is the one with the best latency" in in_one_line(make_card(config=two))


def test_card_describes_data_and_versions():
    card = in_one_line(make_card())
    assert (
        "kaggle_3m: 6 patients (slices beside their masks, as in the LGG MRI Segmentation set), split by person" in card
    )
    assert "with seed 7: 3 train, 1 validation, 2 test." in card
    assert "Fingerprint 0123456789abcdef." in card
    assert "python -m search.tune --data kaggle_3m" in card
    assert "Commit c0ffee; torch 1.2.3, ray 4.5.6, optuna 7.8.9; seed 7." in card
    assert "Commit unknown;" in in_one_line(make_card(commit=None))
    assert "Commit c0ffee+ (with uncommitted changes);" in in_one_line(make_card(commit="c0ffee+"))
    assert "--data 'my data'" in make_card(command=["tune.py", "--data", "my data"])


def test_card_says_how_many_files_were_excluded():
    assert "excluded" not in make_card()
    card = make_card(data=experiment_json()["data"] | {"skipped": ["A_1.tif: is empty", "A_2.tif: is empty"]})
    assert "2 test. 2 file(s) could not be used and were excluded; config.json of the search lists them." in card


def test_card_describes_only_its_own_data():
    brats = replace(SETTINGS, channel_names=("t1ce", "flair"), data_format="nifti")
    card = of_format("nifti", settings=brats)
    assert "MRI slices with 2 channel(s): t1ce, flair." in card
    assert "volumes (NIfTI, MetaImage, NRRD), such as those of BraTS" in card
    assert "The licence of your data applies" in card
    assert not any(word in card for word in ("LGG", "CC BY", "pre-contrast", "synthetic", "TIFF"))
    assert "CC BY-NC-SA 4.0" in of_format("lgg")
    assert "is of no use on real images" in of_format("phantom")
    assert all("The program is under the MIT licence." in of_format(name) for name in ("lgg", "folder", "phantom"))


def test_card_lists_the_steps_of_a_prediction():
    card = in_one_line(make_card())
    assert "8-bit slices are used as they are" in card
    assert "Slices are padded to squares and resized to 32 x 32 pixels" in card
    assert "over the head in the patient's whole volume" in card
    assert "A pixel is tumour where it is at least 0.4." in card
    assert not any(
        word in card
        for word in (
            "largest connected",
            "neighbouring slice",
            "bounding box",
            "one channel with",
            "of each file are used",
        )
    )
    preprocessing = Preprocessing(size=64, crop="head", intensities="full", normalisation="unit", context_slices=2)
    settings = replace(
        SETTINGS, preprocessing=preprocessing, component_share=0.2, channel_indices=(2, 0), grayscale=True
    )
    card = in_one_line(make_card(settings=settings))
    for words in (
        "Channels 2, 0 of each file are used",
        "colours of a slice are combined into one channel with the weights 0.299",
        "All values of the volume",
        "cropped to the bounding box of the head",
        "2 neighbouring slices on either side",
        "makes 5 x 3 channels",
        "divided by 255",
        "Components below 0.2 of the largest are removed",
    ):
        assert words in card
    assert "standard deviation" not in card


def test_card_lists_the_files_that_are_there():
    card = make_card(files=["model.onnx", "metrics.json", "notes.txt"])
    assert all(f"| `{name}` | " in card for name in ("model.onnx", "metrics.json", "card.md", "manifest.json"))
    assert not any(name in card for name in ("model.pt2`", "checkpoint.pt", "overlays", "notes.txt", "read_weights"))
    assert "**Loading a `.pt2` file from" in make_card()


ASSESSMENT = {
    "by_lesion_size": [{"name": "below 1 ml", "num_patients": 2, "dice": {"mean": 0.125, "low": 0.0, "high": 0.25}}],
    "by_group": [{"name": "scanner A|B", "num_patients": 3, "dice": {"mean": math.nan}}],
    "diagnosis": {"sensitivity": 0.9, "specificity": None, "auc": 0.75},
    "calibration": {"ece": 0.0625},
    "as_notebooks": [{"name": "slice-wise Dice", "value": 0.99, "description": "empty slices count 1"}],
    "speed": {
        "seconds_per_patient": 1.5,
        "milliseconds_per_slice": 12.5,
        "peak_memory_mb": 300.0,
        "memory_of": "GPU",
    },
}


def test_card_has_a_section_for_all_that_was_assessed():
    card = make_card(metrics={"assessment": ASSESSMENT})
    for line in (
        "| below 1 ml | 2 | 0.1250 | 0.0000 to 0.2500 |",
        "| scanner A\\|B | 3 | - | - |",
        "| sensitivity | 0.9000 |",
        "| specificity | - |",
        "| auc | 0.7500 |",
        "calibration error of the probabilities is 0.0625",
        "| slice-wise Dice | 0.9900 | empty slices count 1 |",
        "| milliseconds_per_slice | 12.5000 |",
    ):
        assert line in card


@pytest.mark.parametrize("key", ASSESSMENT)
def test_card_has_no_section_for_what_was_not_assessed(key):
    everything = make_card(metrics={"assessment": ASSESSMENT})
    without = make_card(metrics={"assessment": {name: value for name, value in ASSESSMENT.items() if name != key}})
    assert len(without) < len(everything)
    nothing = make_card(metrics={"assessment": {}})
    assert nothing == make_card(metrics={"assessment": None})
    assert not any(
        word in nothing for word in ("By size", "By group", "Detection", "calibration", "notebooks", "Speed")
    )


def test_card_says_what_was_chosen_on_validation():
    choices = [
        {"name": "threshold", "value": 0.35, "measure": "mean Dice", "before": 0.8, "after": 0.8125, "kept": True},
        {"name": "flips", "value": True, "measure": "mean Dice", "before": 0.8125, "after": 0.75, "kept": False},
        {"name": "temperature", "value": 1.5, "before": 0.5, "after": 0.25, "kept": True, "measure": "log loss"},
    ]
    card = make_card(metrics={"choices": choices})
    assert "| threshold | 0.3500 | mean Dice | 0.8000 | 0.8125 | yes |" in card
    assert "| flips | yes | mean Dice | 0.8125 | 0.7500 | no |" in card
    assert "| temperature | 1.5000 | log loss | 0.5000 | 0.2500 | yes |" in card
    assert "| choice |" not in make_card(metrics={"choices": []})


def test_card_says_that_the_model_was_trained_again_on_more_patients():
    final = {"num_patients": 14, "epochs": 9, "networks": ["a", "b", "c"], "left_out": ["d is left out: it failed"]}
    card = in_one_line(make_card(metrics=metrics_json() | {"final": final}))
    assert (
        "The model is the average of 3 networks with the winning configuration, trained for 9 epochs on all 14 " in card
    )
    assert (
        "those of the winner's own network, which was trained on the training patients only. d is left out: it" in card
    )


def test_card_warns_if_test_patients_were_scored_again():
    assert "Warning" not in make_card(metrics={"num_test_scorings": 1})
    assert "Warning: these patients have been scored 3 times" in make_card(metrics={"num_test_scorings": 3})


def test_card_warns_and_leaves_no_gap():
    for card in (make_card(), make_card(metrics={"assessment": ASSESSMENT, "num_networks": 3})):
        assert "This is not a medical device" in card
        assert not any(gap in card for gap in ("{{", "{%", "None", "\n\n\n"))
    assert card.startswith("# Tumour segmentation model small\n\nAn ensemble of 3 U-Nets that segments")


def test_card_names_the_architecture_of_the_networks(monkeypatch):
    other = Architecture(config=UNetConfig, network=UNet, title="Attention Net")
    monkeypatch.setitem(NETWORKS, "attention", other)
    kinds = {
        "A U-Net that": {"architectures": ["unet"]},
        "An Attention Net that": {"architectures": ["attention"]},
        "An ensemble of 2 Attention Nets that": {"architectures": ["attention"], "num_networks": 2},
        "An ensemble of 3 networks (Attention Net, U-Net) that": {
            "architectures": ["attention", "unet"],
            "num_networks": 3,
        },
    }
    for beginning, metrics in kinds.items():
        assert f"\n\n{beginning} segments brain tumours" in make_card(metrics=metrics)


def python_of(card: str) -> list[str]:
    """Return the blocks of Python of a card."""
    return [block.split("```")[0] for block in card.split("```python\n")[1:]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return a predictor that sees neighbours, a patient's slices, and the folder that holds both on disk."""
    torch.manual_seed(0)
    settings = replace(SETTINGS, preprocessing=Preprocessing(size=16, context_slices=1))
    predictor = Predictor([UNet(UNetConfig(depth=1, width=2, in_channels=settings.num_inputs))], threshold=0.4)
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    images[:, :5] //= 30  # air
    folder = tmp_path_factory.mktemp("card")
    export_onnx(predictor, folder / "model.onnx", settings, sample_volumes=[images])
    write_weights(predictor, folder / "weights.safetensors")
    np.save(folder / "slices.npy", images.transpose(0, 3, 1, 2))
    return predictor, images, folder


@pytest.mark.parametrize("normalisation", ["zscore", "unit"])
@pytest.mark.slow
def test_card_shows_python_that_gives_what_predict_gives(model, monkeypatch, normalisation):
    predictor, images, folder = model
    preprocessing = Preprocessing(size=16, context_slices=1, normalisation=normalisation)
    monkeypatch.chdir(folder)
    names: dict = {}
    for block in python_of(make_card(settings=replace(SETTINGS, preprocessing=preprocessing))):
        exec(block, names)
    [expected] = predict_volume(torch_network(predictor, torch.device("cpu")), images, preprocessing)
    np.testing.assert_allclose(names["probability"], expected, atol=1e-5)
    assert (names["mask"] == (names["probability"] >= np.float32(0.4))).all()
    assert names["probability"].std() > 1e-3
    assert names["predictor"].num_parameters == predictor.num_parameters


def test_summary_names_the_winner_its_score_and_the_files(tmp_path):
    screen = io.StringIO()
    print_summary(tmp_path, ROWS, model_metrics(), Console(file=screen, width=40))
    lines = screen.getvalue().splitlines()
    assert "3 trials (1 COMPLETE, 1 PRUNED, 1 FAILED), 3 epochs" in lines
    assert "Winner      t001 at epoch 2: learning_rate 0.002, depth 3, dropout 0.1, bce_weight 0.5" in lines
    assert (
        "Test Dice   0.8125 (95 % interval 0.5000 to 0.8750, median 0.7500) over 2 patients that the search never saw"
    ) in lines
    assert (
        f"Model       {tmp_path}/best/model.onnx (its probabilities differ from the network's by at most 2e-06)"
    ) in lines
    for path in ("best/card.md", "best/metrics.json", "report.html", "trials.jsonl"):
        assert any(line.endswith(f"{tmp_path}/{path}") for line in lines)


def test_card_of_several_regions_has_each():
    found = metrics_json()
    regions = {name: {"dice": found["test"]["dice"]} for name in ("WT", "ET")}
    calibration = found["assessment"]["calibration"]
    card = make_card(
        metrics={
            "test": found["test"] | {"by_region": regions},
            "region_thresholds": {"WT": 0.25, "ET": 0.75},
            "assessment": found["assessment"] | {"calibration_by_region": {"WT": calibration, "ET": calibration}},
        },
        settings=replace(SETTINGS, regions=parse_regions(("WT=1,2,4", "ET=4")), region_thresholds=(0.25, 0.75)),
    )
    assert "| WT | 1, 2, 4 | 0.2500 | 0.8125 | 0.5000 to 0.8750 | 0.7500 |" in card
    assert "each batch x regions x height x width" in card
    assert "(0 is perfect); by region: WT 0.0312, ET 0.0312." in card
    assert "belongs to a region where it is at least 0.25 for WT, 0.75 for ET." in card
