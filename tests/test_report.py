"""The report: one file that needs no network, with every trial in it, and text that stays text."""

import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from fakes import metrics_record, run_record, trial_row

from model.images import write_image
from search.report.page import write_report
from search.trials import State

EVIL = '<script>alert("x")</script> & <b>bold</b>'

ROWS = [
    trial_row(0, [0.25, math.nan, 0.5], state=State.PRUNED),
    trial_row(1, [0.5, 0.75]),
    trial_row(2, [], state=State.FAILED, error=f"RuntimeError: {EVIL}\nTraceback"),
    trial_row(3, [math.nan], state=State.FAILED, error="train_loss was nan in epoch 1"),
]


class Page(HTMLParser):
    """A page as a browser sees it: its tags, its links, and the cells of its tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self._cell = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data


def make_page(folder, *, rows=ROWS, metrics=None, note=None) -> tuple[Page, str]:
    write_report(folder / "report.html", run=run_record(), rows=rows, metrics=metrics, note=note)
    html = (folder / "report.html").read_text()
    return Page(html), html


def test_report_needs_nothing_but_itself(tmp_path):
    write_image(tmp_path / "best.png", np.zeros((4, 4, 3), np.uint8))
    page, html = make_page(tmp_path, metrics=metrics_record() | {"pictures": {"best: E": "best.png"}})
    assert len(page.links) == 2  # the icon and the picture
    assert all(link.startswith("data:") for link in page.links)
    assert page.links[1].startswith("data:image/png;base64,iVBORw0KGgo")
    assert "@import" not in html.split("</style>")[0]


def test_report_lists_every_trial_the_best_first(tmp_path):
    page, _ = make_page(tmp_path, metrics=metrics_record())
    trials = [row for row in page.rows if row and row[0].startswith("t0") and row[1] in list(State)]
    assert [row[:5] for row in trials] == [
        ["t001", "COMPLETE", "0.75", "2", "2"],
        ["t000", "PRUNED", "0.5", "3", "3"],
        ["t002", "FAILED", "-", "-", "0"],
        ["t003", "FAILED", "-", "-", "1"],
    ]
    assert trials[1][6:10] == ["0.001", "3", "0.1", "0.5"]
    assert trials[3][-1] == "train_loss was nan in epoch 1"


def test_report_shows_reasons_as_text(tmp_path):
    page, html = make_page(tmp_path)
    assert f"RuntimeError: {EVIL}" in [row[-1] for row in page.rows if row]
    assert EVIL not in html
    assert "b" not in page.tags
    assert "Traceback" not in html


def test_report_shows_the_scores_and_a_dash_for_what_is_undefined(tmp_path):
    page, _ = make_page(tmp_path, metrics=metrics_record())
    by_name = {row[0]: row for row in page.rows if row}
    assert by_name["E"][1:4] == ["3", "0.5", "0.5"]
    assert by_name["F"][1:4] == ["3", "-", "0.5"]
    assert by_name["mean"][2:4] == ["0.8125", "0.25"]
    assert by_name["95 % interval"][2:4] == ["0.5000 to 0.8750", "-"]
    assert by_name["median"][2] == "0.75"


def test_report_without_a_winner_says_why(tmp_path):
    page, html = make_page(tmp_path, note=f"none of 4 trials {EVIL}")
    assert "Nothing was promoted: none of 4 trials &lt;script&gt;" in html
    assert "Test patients" not in html
    assert "img" not in page.tags


@pytest.mark.parametrize("rows", [[], ROWS[2:3], ROWS[2:]], ids=["none", "one failed", "all failed"])
def test_report_of_trials_without_scores_has_no_figures(tmp_path, rows):
    page, html = make_page(tmp_path, rows=rows, note="nothing")
    assert "Best so far" not in html
    assert len([row for row in page.rows if row and row[0].startswith("t0")]) == len(rows)


def test_report_draws_axes_of_words_and_of_decades(tmp_path):
    samples = [{"norm": norm, "weight_decay": decay} for norm, decay in (("batch", 1e-5), ("instance", 1e-1))]
    rows = [trial_row(number, [0.5], sample=sample | {"depth": 3}) for number, sample in enumerate(samples)]
    run = run_record() | {"space": {"norm": "one of both", "weight_decay": "1e-05 to 0.1, log", "depth": "3 to 3"}}
    write_report(tmp_path / "report.html", run=run, rows=rows, metrics=None)
    html = (tmp_path / "report.html").read_text()
    assert '"ticktext":["batch","instance"]' in html
    assert '"ticktext":["1e-5","1e-4","1e-3","1e-2","1e-1"]' in html


def costly_row(number, dice, latency, parameters=1.0):
    network = {"seconds": 1.0, "latency_ms": latency, "million_parameters": parameters}
    return trial_row(number, [], epochs=[{"epoch": 1, "val_dice": dice} | network])


def figures_of(html):
    """Return the traces of every figure, by its title."""
    found = {}
    for section in html.split("<h2>")[1:]:
        title, _, body = section.partition("</h2>")
        if "Plotly.newPlot(" in body:
            _, _, arguments = body.partition("Plotly.newPlot(")
            found[title] = json.JSONDecoder().raw_decode(arguments[arguments.index("[") :])[0]
    return found


COSTLY_ROWS = [
    costly_row(0, 0.75, 9.0, 3.0),
    costly_row(1, 0.5, 2.0, 4.0),
    costly_row(2, 0.5, 3.0, 2.0),  # slower than 1 for the same Dice
    costly_row(3, 0.25, 10.0, 5.0),
    trial_row(4, [], state=State.FAILED, error="raised"),
]


def test_report_draws_the_pareto_front_and_the_promoted_trial_on_it(tmp_path):
    run = run_record()
    run["config"] |= {"objective": ["val_dice", "latency_ms"]}
    write_report(tmp_path / "report.html", run=run, rows=COSTLY_ROWS, metrics=metrics_record())
    figures = figures_of((tmp_path / "report.html").read_text())
    title = "Validation Dice against latency of a slice in ms: the Pareto front in green, the promoted trial a star"
    assert next(iter(figures)) == title
    others, front = figures[title]
    assert (others["text"], others["x"], others["y"]) == (["t002", "t003"], [3.0, 10.0], [0.5, 0.25])
    assert (front["text"], front["x"], front["y"]) == (["t001", "t000"], [2.0, 9.0], [0.5, 0.75])
    assert front["marker"]["symbol"] == ["star", "circle"]  # metrics_record promotes t001
    assert others["marker"]["symbol"] == ["circle", "circle"]


def test_report_draws_a_front_for_every_cost_and_none_for_dice_alone(tmp_path):
    labels = {}
    for objectives in (["val_dice"], ["val_dice", "million_parameters", "latency_ms"]):
        run = run_record()
        run["config"] |= {"objective": objectives}
        write_report(tmp_path / "report.html", run=run, rows=COSTLY_ROWS, metrics=None, note="interrupted")
        figures = figures_of((tmp_path / "report.html").read_text())
        assert "Best so far over epochs spent" in figures
        labels[len(objectives)] = {
            title.partition(":")[0]: dict(zip(traces[1]["text"], traces[1]["x"], strict=True))
            for title, traces in figures.items()
            if "Pareto" in title
        }
    assert labels == {
        1: {},
        3: {
            "Validation Dice against million parameters": {"t002": 2.0, "t000": 3.0, "t001": 4.0},
            "Validation Dice against latency of a slice in ms": {"t001": 2.0, "t002": 3.0, "t000": 9.0},
        },
    }


def test_report_of_trials_without_scores_has_no_front(tmp_path):
    run = run_record()
    run["config"] |= {"objective": ["val_dice", "latency_ms"]}
    write_report(tmp_path / "report.html", run=run, rows=COSTLY_ROWS[4:], metrics=None, note="nothing")
    assert "Pareto" not in (tmp_path / "report.html").read_text().split("<body>")[1]


def test_report_shows_notebooks_numbers_beside_ours_under_their_own_name(tmp_path):
    page, html = make_page(tmp_path, metrics=metrics_record())
    by_name = {row[0]: row for row in page.rows if row}
    assert by_name["slice-wise Dice, empty = 1"][1:] == ["0.9922", "flattered"]
    assert "as public notebooks report them" in html
    assert by_name["all test slices"][1:] == ["0.9375", "0.5312", "0.9688"]
    assert by_name["below 5 ml"][1:3] == ["1", "0.8125"]


def test_report_says_how_the_model_was_promoted(tmp_path):
    page, html = make_page(tmp_path, metrics=metrics_record())
    by_name = {row[0]: row for row in page.rows if row}
    assert by_name["flips"][1:] == ["True", "mean Dice", "0.625", "0.6875", "yes"]
    assert "123,456 parameters, threshold 0.5, averaged with its mirror image." in html
    assert "scored 1 times" not in html
    assert "Cross-validation" not in html
    folds = {"num_folds": 2, "summary": metrics_record()["test"], "folds": [metrics_record()["test"]] * 2}
    _, html = make_page(tmp_path, metrics=metrics_record() | {"num_test_scorings": 3, "cross_validation": folds})
    assert "The test patients were scored 3 times" in html
    assert "0.8125 (0.5000 to 0.8750) of 2 patients" in html


def test_report_draws_the_reliability_curve_of_bins_with_pixels(tmp_path):
    _, html = make_page(tmp_path, metrics=metrics_record())
    diagonal, curve = figures_of(html)["Reliability on the test patients: expected calibration error 0.03125"]
    assert (diagonal["x"], diagonal["y"]) == ([0, 1], [0, 1])
    assert (curve["x"], curve["y"], curve["text"]) == ([0.25], [0.125], ["10 pixels"])
