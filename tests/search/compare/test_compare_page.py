"""The page of a comparison: everything in it, text that stays text, and in a real browser nothing that goes wrong."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from search.compare.__main__ import main
from tests.support.browser import Browser, needs_browser
from tests.support.experiments import DICES, SPLIT, search_rows, write_experiment
from tests.support.html_page import HtmlPage

EVIL = '</script><script>document.title = "evil"</script><img src=x onerror=alert(1)> & <b>bold</b>'
NAMES = ("baseline", "random", "n" * 70, "unfinished")
FIGURES = ("patients", "over-epochs", "over-clock", "importances")


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """The page of four experiments; one of them has an evil patient, comes from evil data, and is not promoted."""
    out = tmp_path_factory.mktemp("runs")
    write_experiment(out, NAMES[0], rows=search_rows(24), dices=DICES)
    worse = {patient: dice - 0.03125 for patient, dice in DICES.items()}
    write_experiment(out, NAMES[1], rows=search_rows(24, seed=1), dices=worse, config={"searcher": "random"})
    write_experiment(out, NAMES[2], dices=DICES | {"T3": 0.75})
    evil = SPLIT | {"test": [EVIL, *SPLIT["test"][1:]]}
    write_experiment(
        out, NAMES[3], rows=search_rows(2), data={"source": EVIL, "split": evil}, run={"versions": {"torch": EVIL}}
    )
    for name in NAMES[:3]:  # a patient of this name in the figure, too
        file = out / name / "best/metrics.json"
        file.write_text(file.read_text().replace('"T5"', json.dumps(EVIL)))
    assert main([*NAMES, "--out", str(out), "--html", str(out / "page.html")]) == 0
    return out / "page.html"


@pytest.fixture(scope="module")
def page(path) -> HtmlPage:
    return HtmlPage(path.read_text())


def test_page_loads_nothing_from_elsewhere(page, path):
    assert page.loaded == ["data:,"]
    style = path.read_text().partition("</style>")[0]
    assert "@import" not in style
    assert "url(" not in style


def test_page_links_only_to_its_own_sections(page):
    assert len(page.ids) == len(set(page.ids))
    assert len(page.anchors) == 9
    assert all(anchor.removeprefix("#") in page.ids for anchor in page.anchors)


def test_page_shows_evil_text_as_text(page, path):
    assert EVIL not in path.read_text()
    assert EVIL in {cell for row in page.rows for cell in row}
    assert not {"img", "b"} & set(page.tags)


def test_page_begins_with_the_findings(page):
    text = " ".join(page.texts)
    assert "baseline is better" in text
    assert f"unfinished minus {NAMES[0]}, unfinished minus {NAMES[1]}, unfinished minus {NAMES[2]}: not tested" in text
    assert tuple(page.figures) == FIGURES
    rows = {row[0]: row[1:] for row in page.rows}
    assert rows["searcher"] == ["prior_gp", "random", "prior_gp", "prior_gp"]
    assert rows["common test patients"] == ["8", "8", "8"]


def test_page_draws_every_experiment_with_something_to_draw(page):
    drawn = {id: [trace["name"] for trace in figure["data"]] for id, figure in page.figures.items()}
    assert drawn["over-epochs"] == drawn["over-clock"] == list(NAMES)
    assert drawn["patients"] == list(NAMES[:3])
    assert drawn["importances"] == list(NAMES[:2])
    assert page.figures["over-clock"]["layout"]["xaxis"]["title"]["text"] == "seconds since the search started"


def test_page_of_experiments_without_anything(tmp_path):
    for name in "ab":
        write_experiment(tmp_path, name, rows=[])
    assert main(["a", "b", "--out", str(tmp_path)]) == 0
    page = HtmlPage((tmp_path / "compare-a-b.html").read_text())
    assert page.figures == {}
    assert "b minus a: not tested, because no model was promoted in a and b, so there are no test scores." in page.texts


# --- in a browser ---


def in_browser(test):
    for mark in needs_browser:
        test = mark(test)
    return test


@pytest.fixture
def shown(browser, path) -> Iterator[Browser]:
    """Yield the browser at the page; at the end nothing must have gone wrong, or been asked of anybody."""
    browser.console()
    browser.hosts()
    browser.open(path.as_uri())
    yield browser
    assert browser.console() == []
    assert browser.hosts() == set()
    browser.emulate("clearDeviceMetricsOverride")
    browser.emulate("setEmulatedMedia", features=[])


def draw_all(browser) -> None:
    """Scroll past every figure, and wait until it is drawn."""
    for figure in FIGURES:
        browser.run("document.getElementById(arguments[0]).scrollIntoView()", figure)
        browser.wait(f"return !!document.querySelector('#{figure} .main-svg')")


@in_browser
def test_browser_draws_every_figure(shown):
    draw_all(shown)
    counts = {figure: shown.run(f"return document.querySelectorAll('#{figure} .trace').length") for figure in FIGURES}
    assert counts == {"patients": 3, "over-epochs": 4, "over-clock": 4, "importances": 2}
    assert shown.run("return document.title") == ", ".join(NAMES) + ": comparison"


@in_browser
def test_browser_shows_evil_names_in_a_figure_as_text(shown):
    draw_all(shown)
    ticks = "return [...document.querySelectorAll('#patients .xtick text')].map(one => one.textContent)"
    assert EVIL in shown.run(ticks)


@in_browser
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_browser_never_scrolls_the_page_sideways(shown, width):
    shown.emulate("setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
    draw_all(shown)
    assert shown.run("return document.documentElement.scrollWidth <= innerWidth")
    # What lies side by side in a table may be scrolled, for all else there is room.
    wide = "return [...document.querySelectorAll('main p, main h1, main h2, main dl')].filter(one => one.scrollWidth > one.clientWidth + 1).length"  # noqa: E501
    assert shown.run(wide) == 0
    tops = shown.run("return [...document.querySelectorAll('figure')].map(one => one.getBoundingClientRect().top)")
    assert all(above < below for above, below in pairwise(tops))


@in_browser
def test_browser_shows_light_and_dark(shown):
    draw_all(shown)
    colours = []
    for scheme in ("light", "dark"):
        shown.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        shown.wait(f"return matchMedia('(prefers-color-scheme: {scheme})').matches")
        ground = shown.run("return getComputedStyle(document.body).backgroundColor")
        label = "return getComputedStyle(document.querySelector('#over-epochs .xtitle')).fill"
        shown.wait(f"{label} !== {json.dumps(colours[-1][1] if colours else '')}")
        colours.append((ground, shown.run(label)))
    (paper, ink), (dark_paper, dark_ink) = [[brightness(colour) for colour in pair] for pair in colours]
    assert paper > 200 > 100 > ink
    assert dark_paper < 60 < 150 < dark_ink


def brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3
