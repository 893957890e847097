"""The report in a real browser: figures, a table that sorts and filters, a phone, the dark scheme, and no network."""

import json

import numpy as np
import pytest

from data.readers.images import write_image
from search.record.trials import State, append_row
from search.report.page import write_report
from tests.search.report.test_report import EVIL
from tests.search.report.test_report_parts import search_until
from tests.support.browser import Browser, needs_browser
from tests.support.fakes import experiment_json, lanes_json, metrics_json, trial_row, write_experiment

pytestmark = needs_browser

ENTER = "\ue007"
MARKS = ".subplot :is(.trace, .contour)"
SIZES = f"""return [...document.querySelectorAll('.draw')]
  .map(box => [box.id, box.querySelectorAll('{MARKS} path').length])"""
SCROLL = f"""const next = [...document.querySelectorAll('.draw')].find(box => !box.querySelector('{MARKS}'));
next?.scrollIntoView({{ block: 'center' }});
return !next"""
COLUMN = """return [...document.querySelectorAll('table[data-filter=Trials] tbody tr')]
  .filter(row => !row.hidden).map(row => row.cells[arguments[0]].textContent)"""
TOO_WIDE = """return [...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll, .main-svg')
  && one.getBoundingClientRect().right > innerWidth + 0.5).map(one => one.outerHTML.slice(0, 80))"""
INK = """const box = document.getElementById('curves');
return [box._fullLayout.font.color, getComputedStyle(document.body).backgroundColor,
  getComputedStyle(box.querySelector('.xtick text')).fill]"""
DRAW_ON = """const box = document.getElementById('best-clock'), tasks = new MessageChannel();
const end = performance.now() + 250;
tasks.port1.onmessage = () => {
  if (performance.now() > end) { box.dataset.done = 'yes'; return; }
  delete box.dataset.drawn;
  dispatchEvent(new Event('beforeprint'));
  tasks.port2.postMessage(0);
};
tasks.port2.postMessage(0)"""
COLOURS = """return [...document.querySelectorAll('main *')].filter(one => !one.children.length
  && one.textContent.trim() && one.getClientRects().length && !one.closest('.draw, script, style')).map(one => {
  let behind = one;
  while (behind && getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
  const paper = getComputedStyle(behind || document.body).backgroundColor;
  return [getComputedStyle(one).color, paper, one.textContent.slice(0, 40)];
})"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return the address of the report of a search with everything in it."""
    folder = tmp_path_factory.mktemp("searched")
    search_until(folder)
    write_image(folder / "worst.png", np.full((300, 900, 3), 90, np.uint8))
    metrics = metrics_json() | {"pictures": {f"worst: {EVIL}": "worst.png"}}
    options = {"trials": 27, "max_epochs": 9, "objective": ["val_dice"]}
    data = experiment_json()["data"] | {"skipped": [f"a_long_name_without_a_break_{'x' * 200}.tif: {EVIL}"]}
    write_experiment(folder, [], metrics=metrics, config=options, data=data, lanes=lanes_json(3))
    append_row(folder / "trials.jsonl", trial_row(27, [], state=State.FAILED, error=f"Traceback\nValueError: {EVIL}"))
    return f"file://{write_report(folder)}"


@pytest.fixture
def page(browser, report):
    """Yield the browser at the report; at the end nothing must have gone wrong, or asked for anything."""
    browser.console()
    browser.hosts()
    browser.open(report)
    yield browser
    browser.emulate("clearDeviceMetricsOverride")
    browser.emulate("setEmulatedMedia", features=[])
    assert browser.hosts() == set()
    assert browser.console() == []


def look(page: Browser, *, scheme: str = "light", width: int = 1280) -> None:
    """Make it look as somebody has it."""
    page.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.emulate("setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)


def show(page: Browser, **looks) -> None:
    """The same, and wait until all figures are drawn."""
    look(page, **looks)
    page.wait(SCROLL)


def show_curves(page: Browser, scheme: str) -> None:
    """The same, and wait until one of them is: to draw all takes seconds."""
    look(page, scheme=scheme)
    page.run("document.getElementById('curves').scrollIntoView()")
    page.wait("return document.getElementById('curves').querySelector('.xtick text')")


def test_report_draws_every_figure_and_asks_for_nothing(page):
    show(page)
    sizes = dict(page.run(SIZES))
    assert {"curves", "best-epochs", "best-clock", "coordinates", "importance", "along-axes"} < set(sizes)
    assert {"rungs-figure", "timeline", "reliability"} < set(sizes)
    assert min(sizes.values()) > 0, sizes


def test_report_draws_a_figure_when_it_comes_near(page):
    page.run("document.getElementById('curves').scrollIntoView()")
    page.wait("return document.getElementById('curves').querySelector('.main-svg')")
    assert page.run("return document.getElementById('reliability').children.length") == 0


def test_table_sorts_by_mouse_and_by_keyboard(page):
    page.run("[...document.querySelectorAll('table[data-filter=Trials] th button')][2].click()")
    assert page.run("return document.querySelector('[aria-sort]').textContent") == "best Dice"
    dices = page.run(COLUMN, 2)
    assert dices == [*sorted(dices[:-1], reverse=True), "-"]
    page.press("table[data-filter=Trials] th:nth-child(3) button", ENTER)
    assert page.run("return document.querySelector('[aria-sort]').ariaSort") == "ascending"
    assert page.run(COLUMN, 2) == [*sorted(dices[:-1]), "-"], "what is missing stays last"
    page.press("table[data-filter=Trials] th:nth-child(1) button", ENTER)
    assert page.run(COLUMN, 0) == [f"t{number:03d}" for number in reversed(range(28))]
    page.press("table[data-filter=Trials] th:nth-child(7) button", ENTER)
    rates = [float(rate) for rate in page.run(COLUMN, 6)]
    assert rates == sorted(rates, reverse=True)
    assert page.run("return document.querySelectorAll('[aria-sort]').length") == 1


def test_table_filters_by_text_and_by_state(page):
    everything = page.run(COLUMN, 0)
    states = page.run(COLUMN, 1)
    assert len(everything) == 28
    page.press(".filters input[type=search]", "ValueError t02")
    assert page.run(COLUMN, 0) == ["t027"]
    assert "1 of 28" in page.run("return document.querySelector('.filters').innerText")
    page.press(".filters input[type=search]", "\ue003" * 20)
    assert page.run(COLUMN, 0) == everything
    page.run("document.querySelector('.filters input[value=PRUNED]').click()")
    assert sorted(page.run(COLUMN, 1)) == sorted(state for state in states if state != "PRUNED")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_fits_a_phone(page, scheme):
    show(page, scheme=scheme, width=360)
    assert page.run("return document.documentElement.scrollWidth") <= 360
    assert page.run(TOO_WIDE) == []
    assert page.run("return document.querySelector('nav details').open") is False
    assert page.run("return document.getElementById('curves')._fullLayout.width") <= 360


def luminance(colour: str) -> float:
    parts = [float(part) for part in colour.strip("rgba()").split(",")[:3]]
    linear = [(part / 255 / 12.92) if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_has_text_that_can_be_read(page, scheme):
    """WCAG 2.2, success criterion 1.4.3: 4.5 to 1."""
    show_curves(page, scheme)
    found = page.run(COLOURS)
    assert len(found) > 300
    for ink, paper, text in found:
        if paper.startswith("color"):  # a mix, near the page's own
            continue
        low, high = sorted((luminance(ink), luminance(paper)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper, text)


def test_report_follows_the_scheme_while_it_is_open(page):
    show_curves(page, "light")
    assert page.run(INK) == ["#333333", "rgb(255, 255, 255)", "rgb(51, 51, 51)"]
    show_curves(page, "dark")
    page.wait("return document.getElementById('curves')._fullLayout.font.color === '#d6d6d6'")
    assert page.run(INK) == ["#d6d6d6", "rgb(18, 18, 18)", "rgb(214, 214, 214)"]


def test_report_follows_a_scheme_that_changes_while_a_figure_is_drawn(page):
    show(page)
    for scheme, ink in [("dark", "#d6d6d6"), ("light", "#333333")] * 6:
        page.run(DRAW_ON)
        look(page, scheme=scheme)
        page.wait("return document.getElementById('best-clock').dataset.done")
        page.wait(f"return document.getElementById('curves')._fullLayout.font.color === '{ink}'")
        assert page.run("return delete document.getElementById('best-clock').dataset.done")


def test_report_of_no_trials_opens_without_figures(browser, tmp_path):
    browser.console()
    browser.open(f"file://{write_report(write_experiment(tmp_path, []))}")
    assert "no trial has a score" in browser.run("return document.body.innerText")
    assert browser.run("return typeof Plotly") == "undefined"
    assert browser.console() == []


def test_report_shows_nan_and_infinity(browser, tmp_path):
    rows = [
        trial_row(0, [0.5, float("nan"), float("inf")]),
        trial_row(1, [float("-inf"), 0.25]),
        trial_row(2, [0.5], sample={"learning_rate": float("nan"), "depth": 3, "dropout": 0.1, "bce_weight": 0.5}),
    ]
    browser.console()
    browser.open(f"file://{write_report(write_experiment(tmp_path, rows))}")
    browser.wait(SCROLL)
    assert min(count for _, count in browser.run(SIZES)) > 0
    assert browser.console() == []
    json.dumps(browser.run("return document.getElementById('curves')._fullLayout.yaxis.range"), allow_nan=False)
