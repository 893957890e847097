"""The report: one file that needs no network, with every trial in it, and text that stays text."""

import base64
import json
import math

import numpy as np
import pytest

from data.readers.images import write_image
from search.experiment import exclusive_writer
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.report.__main__ import main
from search.report.page import write_report
from tests.support.fakes import experiment_json, metrics_json, trial_row, write_experiment
from tests.support.html_page import HtmlPage

EVIL = '</script><script>alert("x")</script> & <b>bold</b>'

ROWS = [
    trial_row(0, [0.25, math.nan, 0.5], state=State.PRUNED),
    trial_row(1, [0.5, 0.75]),
    trial_row(2, [], state=State.FAILED, error=f"Traceback\n  File\nRuntimeError: {EVIL}"),
    trial_row(3, [math.nan], state=State.FAILED, error="train_loss was nan in epoch 1"),
]


def make_page(folder, rows=ROWS, *, note=None, **changes) -> tuple[HtmlPage, str]:
    html = write_report(write_experiment(folder, rows, **changes), note=note).read_text()
    return HtmlPage(html), html


def values(array) -> list[float]:
    """Return what plotly.py packed."""
    if not isinstance(array, dict):
        return array
    kind = {"f4": np.float32, "i1": np.int8, "i4": np.int32, "u1": np.uint8}[array["dtype"]]
    return np.frombuffer(base64.b64decode(array["bdata"]), kind).tolist()


def test_report_loads_nothing_from_elsewhere(tmp_path):
    (tmp_path / "best").mkdir()
    write_image(tmp_path / "best" / "worst.png", np.zeros((4, 4, 3), np.uint8))
    metrics = metrics_json() | {"pictures": {"worst: E": "best/worst.png", "best: F": "best/gone.png"}}
    page, html = make_page(tmp_path, metrics=metrics)
    assert page.loaded[0] == "data:,"
    assert page.loaded[1].startswith("data:image/png;base64,iVBORw0KGgo")
    assert len(page.loaded) == 2
    assert "Content-Security-Policy\" content=\"default-src 'none'" in html
    style = html.split("<style>")[1].split("</style>")[0]
    assert not any(word in style for word in ("@import", "url("))
    files = {link for link in page.anchors if not link.startswith("#")}
    assert files == {"config.json", "trials.jsonl", "best/metrics.json"}
    assert {link[1:] for link in page.anchors} - {file[1:] for file in files} <= set(page.ids)


def test_report_has_headings_in_order_and_each_id_once(tmp_path):
    page, _ = make_page(tmp_path, metrics=metrics_json())
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    assert len(page.ids) == len(set(page.ids))


def test_report_lists_every_trial_the_best_first(tmp_path):
    page, _ = make_page(tmp_path, metrics=metrics_json())
    trials = [row for row in page.rows if row and row[0].startswith("t0") and len(row) > 8]
    assert [row[:6] for row in trials] == [
        ["t001", "COMPLETE", "0.7500", "2", "2", "1.0"],
        ["t000", "PRUNED", "0.5000", "3", "3", "1.0"],
        ["t002", "FAILED", "-", "-", "0", "1.0"],
        ["t003", "FAILED", "-", "-", "1", "1.0"],
    ]
    assert trials[1][6:10] == ["0.001", "3", "0.1", "0.5"]
    assert trials[3][-1] == "train_loss was nan in epoch 1"


def test_report_shows_text_from_outside_as_text(tmp_path):
    rows = [*ROWS, trial_row(4, [0.5], sample=ROWS[0].sample | {"norm": EVIL})]
    rows = [trial_row(row.number, [0.5], sample=row.sample | {"norm": EVIL}, error=row.error) for row in rows]
    data = experiment_json()["data"] | {"source": EVIL, "skipped": [EVIL]}
    space = experiment_json()["space"] | {"norm": "one of a, b"}
    metrics = metrics_json()
    metrics["name"] = EVIL
    metrics["test_patients"][0]["patient"] = EVIL
    page, html = make_page(
        tmp_path, rows, metrics=metrics, data=data, space=space, command=["tune.py", EVIL], note=EVIL
    )
    assert "b" not in page.tags
    assert EVIL not in html
    assert page.tags.count("script") == len(page.traces) + 4  # tables.js, themes, plotly.js, figures.js
    assert any(EVIL in row[-1] for row in page.rows if row and row[0] == "t002")
    assert any(row[0] == EVIL for row in page.rows if row)
    assert {"curves", "coordinates", "along-axes"} <= set(page.traces)


def test_report_lists_failures_with_headlines_and_full_messages(tmp_path):
    events = [{"event": "lost", "number": 1, "error": "gone"}] * 2
    write_experiment(tmp_path, [])
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    page, html = make_page(tmp_path, data=experiment_json()["data"] | {"skipped": ["a.tif: no TIFF"]})
    failures = [row for row in page.rows if row and row[0].startswith("t0") and len(row) == 4]
    assert [row[:3] for row in failures] == [
        ["t002", "FAILED", "0"],
        ["t003", "FAILED", "0"],
        ["t001", "COMPLETE", "2"],
    ]
    assert failures[0][3].startswith(f"RuntimeError: {EVIL}")
    assert failures[0][3].endswith(f"Traceback\n  File\nRuntimeError: {EVIL}")
    assert failures[1][3] == "train_loss was nan in epoch 1"
    assert "<li>a.tif: no TIFF</li>" in html


def test_report_shows_the_scores_and_a_dash_for_what_is_undefined(tmp_path):
    page, html = make_page(tmp_path, metrics=metrics_json())
    assert page.row("E")[1:4] == ["3", "0.5000", "0.5000"]
    assert page.row("F")[1:4] == ["3", "-", "0.5000"]
    assert page.row("mean")[2:4] == ["0.8125", "0.2500"]
    assert page.row("95 % interval")[2:4] == ["0.5000 to 0.8750", "-"]
    assert page.row("median")[2] == "0.7500"
    headline = html.split('<dl class="headline">')[1].split("</dl>")[0]
    assert all(words in headline for words in ("0.8125", "0.5000 to 0.8750", "2 test patients", "t001", "123,456"))


def test_report_without_a_winner_says_why_and_what_to_do(tmp_path):
    page, html = make_page(tmp_path, note=f"Nothing was promoted: {EVIL}")
    assert "Nothing was promoted: &lt;/script&gt;" in html
    assert "test" not in page.ids
    assert "img" not in page.tags
    assert f"To promote the best trial: python -m search.promote {tmp_path.name}" in make_page(tmp_path)[1]
    assert "promoted before" not in html
    _, html = make_page(tmp_path, metrics=metrics_json(), note="Nothing was promoted: a disk is full")
    assert "The scores below are those of the model that was promoted before." in html


@pytest.mark.parametrize("rows", [[], ROWS[2:3], ROWS[2:]], ids=["none", "one failed", "all failed"])
def test_report_of_trials_without_scores_has_no_figures(tmp_path, rows):
    page, html = make_page(tmp_path, rows)
    assert page.traces == {}
    assert "plotly" not in html
    assert "No model was promoted, because no trial has a score." in html
    assert len([row for row in page.rows if row and row[0].startswith("t0") and len(row) > 8]) == len(rows)


def test_report_of_one_trial_draws_only_what_needs_one(tmp_path):
    page, _ = make_page(tmp_path, ROWS[1:2])
    assert set(page.traces) == {"curves", "best-epochs", "rungs-figure"}


def costly_row(number, dice, latency, parameters=1.0):
    network = {"seconds": 1.0, "latency_ms": latency, "million_parameters": parameters}
    return trial_row(number, [], epochs=[EpochMetrics(epoch=1, val_dice=dice, **network)])


COSTLY_ROWS = [
    costly_row(0, 0.75, 9.0, 3.0),
    costly_row(1, 0.5, 2.0, 4.0),
    costly_row(2, 0.5, 3.0, 2.0),  # slower than 1 for the same Dice
    costly_row(3, 0.25, 10.0, 5.0),
    trial_row(4, [], state=State.FAILED, error="raised"),
]


def test_report_draws_the_pareto_front_and_the_promoted_trial_on_it(tmp_path):
    objectives = {"objective": ["val_dice", "latency_ms"]}
    page, _ = make_page(tmp_path, COSTLY_ROWS, metrics=metrics_json(), config=objectives)
    others, front = page.traces["front-latency_ms"]
    assert (others["text"], others["x"], others["y"]) == (["t002", "t003"], [3.0, 10.0], [0.5, 0.25])
    assert (front["text"], front["x"], front["y"]) == (["t001", "t000"], [2.0, 9.0], [0.5, 0.75])
    assert front["marker"]["symbol"] == ["star", "circle"]  # metrics_json promotes t001
    assert others["marker"]["symbol"] == ["circle", "circle"]


@pytest.mark.parametrize(
    ("objectives", "fronts"),
    [
        (["val_dice"], {}),
        (
            ["val_dice", "million_parameters", "latency_ms"],
            {
                "front-million_parameters": {"t002": 2.0, "t000": 3.0, "t001": 4.0},
                "front-latency_ms": {"t001": 2.0, "t002": 3.0, "t000": 9.0},
            },
        ),
    ],
    ids=["Dice alone", "three"],
)
def test_report_draws_a_front_for_every_cost_and_none_for_dice_alone(tmp_path, objectives, fronts):
    page, _ = make_page(tmp_path, COSTLY_ROWS, config={"objective": objectives})
    found = {name: traces[1] for name, traces in page.traces.items() if name.startswith("front-")}
    assert {name: dict(zip(one["text"], one["x"], strict=True)) for name, one in found.items()} == fronts


def test_report_of_trials_without_scores_has_no_front(tmp_path):
    page, _ = make_page(tmp_path, COSTLY_ROWS[4:], config={"objective": ["val_dice", "latency_ms"]})
    assert page.traces == {}


def test_report_draws_every_epoch_of_every_trial_with_a_score(tmp_path):
    page, _ = make_page(tmp_path, metrics=metrics_json())
    pruned, promoted = page.traces["curves"]
    assert (pruned["name"], promoted["name"]) == ("PRUNED", "t001, promoted")
    assert values(promoted["x"])[:2] == [1, 2]
    assert values(promoted["y"])[:2] == [0.5, 0.75]
    assert values(pruned["y"])[::2] == [0.25, 0.5]
    assert math.isnan(values(pruned["y"])[1])
    assert pruned["opacity"] < promoted.get("opacity", 1)


def timed_row(number, dices, times, **changes):
    epochs = [
        EpochMetrics(epoch=place, val_dice=dice, seconds=1.0, elapsed_seconds=time)
        for place, (dice, time) in enumerate(zip(dices, times, strict=True), 1)
    ]
    return trial_row(number, [], epochs=epochs, **changes)


def test_report_draws_the_best_so_far_in_the_order_of_time(tmp_path):
    rows = [timed_row(0, [0.25, 0.75], [1.0, 9.0]), timed_row(1, [0.5, math.nan, 0.25], [2.0, 3.0, 4.0])]
    page, _ = make_page(tmp_path, rows)
    (spent,), (clock,) = page.traces["best-epochs"], page.traces["best-clock"]
    assert (spent["x"], spent["y"]) == ([1, 2, 5], [0.25, 0.5, 0.75])
    assert spent["text"] == ["t000", "t001", "t000"]
    assert (clock["x"], clock["y"]) == ([1.0, 2.0, 9.0], spent["y"])
    page, html = make_page(tmp_path / "untimed", ROWS)
    assert page.traces["best-epochs"][0]["x"] == [1, 3, 5, 6]
    assert "best-clock" not in page.traces
    assert 'id="time"' not in html


def test_report_shows_notebook_metrics_under_their_own_names(tmp_path):
    page, html = make_page(tmp_path, metrics=metrics_json())
    assert page.row("slice-wise Dice, empty = 1")[1:] == ["0.9922", "flattered"]
    assert "The metrics that public notebooks report" in html
    assert page.row("all test slices")[1:] == ["0.9375", "0.5312", "0.9688"]
    assert page.row("below 5 ml")[1:3] == ["1", "0.8125"]


def test_report_says_how_the_model_was_promoted(tmp_path):
    page, html = make_page(tmp_path, metrics=metrics_json())
    assert page.row("flips")[1:] == ["yes", "mean Dice", "0.625", "0.6875", "yes"]
    assert "123,456 parameters, threshold 0.5, averaged over mirror images." in html
    assert "scored 1 times" not in html
    assert "Cross-validation" not in html
    folds = {"num_folds": 2, "summary": metrics_json()["test"], "folds": [metrics_json()["test"]] * 2}
    _, html = make_page(tmp_path, metrics=metrics_json() | {"num_test_scorings": 3, "cross_validation": folds})
    assert "The test patients were scored 3 times" in html
    assert "0.8125 (0.5000 to 0.8750) over 2 patients" in html


def test_report_draws_the_reliability_curve_of_bins_with_pixels(tmp_path):
    page, html = make_page(tmp_path, metrics=metrics_json())
    diagonal, curve = page.traces["reliability"]
    assert "Expected calibration error 0.03125." in html
    assert (diagonal["x"], diagonal["y"]) == ([0, 1], [0, 1])
    assert (curve["x"], curve["y"], curve["text"]) == ([0.25], [0.125], ["10 pixels"])


def test_report_says_if_the_search_was_resumed_after_the_promotion(tmp_path):
    write_experiment(tmp_path, [])
    (tmp_path / "test_scorings.jsonl").write_text('{"time": "2026-01-02T05:00:00+00:00"}\n')
    for resumed, said in (("2026-01-02T06:00:00+00:00", True), ("2026-01-02T04:00:00+00:00", False)):
        _, html = make_page(tmp_path, metrics=metrics_json(), resumed=[resumed])
        assert ("The search was resumed after this model was promoted" in html) is said


def test_report_says_how_to_resume_an_interrupted_search(tmp_path):
    _, html = make_page(tmp_path, [*ROWS, trial_row(4, [0.5], state=State.PRUNED, error="interrupted")])
    assert f"To resume it: python -m search.tune --resume {tmp_path.name}" in html


def test_command_writes_the_report_and_prints_its_path(tmp_path, capsys):
    write_experiment(tmp_path / "small", ROWS, metrics=metrics_json())
    assert main(["small", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "small" / "report.html")
    assert "A search or a promotion is running" not in (tmp_path / "small" / "report.html").read_text()


def test_command_says_that_the_search_is_running(tmp_path):
    folder = write_experiment(tmp_path / "small", ROWS)
    with exclusive_writer(folder):
        assert main(["small", "--out", str(tmp_path)]) == 0
    assert "A search or a promotion is running" in (folder / "report.html").read_text()
    with exclusive_writer(folder):  # the report let go of it
        pass


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({}, "is not an experiment of this program"),
        ({"trials.jsonl": "{}\n"}, "trials.jsonl, line 1: id is missing"),
        ({"best/metrics.json": "{"}, "metrics.json is damaged"),
        ({"events.jsonl": '{"event": "begin", "number": 9}\n'}, "events.jsonl, line 1: sample is missing"),
    ],
    ids=["nothing", "table", "metrics", "log"],
)
def test_command_reports_an_unreadable_file_in_one_sentence(tmp_path, capsys, damage, words):
    if damage:
        write_experiment(tmp_path / "small", [], metrics=metrics_json())
    for name, text in damage.items():
        (tmp_path / "small" / name).write_text(text)
    assert main(["small", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_report_of_several_regions_has_each(tmp_path):
    found = metrics_json()
    numbers = {name: value for name, value in found["test"].items() if name != "num_patients"}
    regions = {"WT": numbers, "ET": numbers | {"dice": numbers["dice"] | {"mean": 0.25}}}
    scores = {name: found["test_patients"][0][name] for name in ("dice", "iou", "precision", "recall", "accuracy")}
    counts = {"predicted_pixels": 3, "true_pixels": 4, "predicted_ml": 0.5, "true_ml": 0.5, "hd95": 1.0, "assd": 1.0}
    parts = [scores | counts | {"name": name} for name in regions]
    calibration = found["assessment"]["calibration"]
    metrics = found | {
        "test": found["test"] | {"by_region": regions},
        "test_patients": [patient | {"regions": parts} for patient in found["test_patients"]],
        "region_thresholds": {"WT": 0.25, "ET": 0.75},
        "assessment": found["assessment"] | {"calibration_by_region": dict.fromkeys(regions, calibration)},
    }
    epochs = tuple(
        EpochMetrics(epoch=n, val_dice=0.5, others={"val_dice_WT": 0.75, "val_dice_ET": math.nan if n == 1 else 0.25})
        for n in (1, 2)
    )
    page, html = make_page(tmp_path, rows=[trial_row(1, [], epochs=epochs)], metrics=metrics)
    assert page.row("ET")[:3] == ["ET", "0.75", "0.2500"]
    assert [trace["name"] for trace in page.traces["region_curves"]] == ["WT", "ET"]
    assert "the highest Dice of each is WT 0.7500, ET 0.2500." in html
