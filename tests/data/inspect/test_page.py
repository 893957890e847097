"""The page of an inspection."""

import base64
import re

import cv2
import numpy as np
import pytest

from data.inspect.__main__ import main
from data.inspect.pictures import NUM_PICTURES
from tests.support.html_page import HtmlPage
from tests.support.inspected import Case, inspect, write

EVIL = "<script>alert(1)<b>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a source whose first patient has a name that is HTML."""
    folder = tmp_path_factory.mktemp("page")
    cases = {name: Case(k) for k, name in enumerate((EVIL, "TCGA_DU_1", "TCGA_DU_2"), 1)}
    cases[EVIL].masks = [np.zeros((128, 128), bool) for _ in range(12)]
    write(folder / EVIL, cases)
    assert main([str(folder / EVIL), "--out", str(folder / "new" / "out")]) == 0
    html = (folder / "new/out/inspect.html").read_text()
    return HtmlPage(html), html


def test_page_loads_nothing(page):
    parsed, html = page
    assert parsed.open == []
    assert parsed.anchors == []
    assert len(parsed.loaded) == 1 + 4 * (2 + NUM_PICTURES)
    assert all(link.startswith("data:") for link in parsed.loaded)
    assert "://" not in html
    assert "@import" not in html
    assert "url(" not in html
    assert not {"script", "iframe", "object", "embed"} & set(parsed.tags)


def test_page_suits_phones_and_light_and_dark_screens(page):
    parsed, _ = page
    assert parsed.metas == {"viewport": "width=device-width, initial-scale=1", "color-scheme": "light dark"}


def test_page_shows_names_as_text(page):
    parsed, html = page
    assert EVIL not in html
    assert f"{EVIL}: no mask of this patient has a tumour pixel" in parsed.items
    assert "b" not in parsed.tags
    assert re.search("without tumour: &lt;script&gt;alert\\(1\\)&lt;b&gt;, slice", html)


def test_page_has_the_same_numbers_and_findings_as_the_terminal(page):
    parsed, html = page
    cells = [cell for row in parsed.rows for cell in row]
    assert dict(zip(cells[::2], cells[1::2], strict=True)).items() >= {
        ("patients", "3"),
        ("slices", "36"),
        ("groups (patients)", "TCGA_DU (2)(none) (1)"),
    }
    assert len(parsed.items) == 1
    assert "1 finding(s) of 1 kind(s)." in html
    assert parsed.tags.count("svg") == 2 + 2 + 1  # histogram and bar of both groups, and the patients


def test_page_shows_slices_plain_and_with_the_outline(page):
    parsed, _ = page
    coloured = []
    for link in parsed.loaded[1:9]:
        content = np.frombuffer(base64.b64decode(link.partition("base64,")[2]), np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (256, 256, 3)
        coloured.append(int(np.ptp(picture.astype(int), axis=2).max()) > 60)
    assert coloured == [False, False, False, True] * 2


def test_page_of_one_slice_without_tumour_can_be_drawn(tmp_path, capsys):
    case = Case(1)
    case.keep([0])
    case.images, case.masks = [np.zeros((9, 9, 3), np.uint8)], [np.zeros((9, 9), bool)]
    case.write(tmp_path / "A")
    found, _ = inspect(capsys, tmp_path, "--out", tmp_path / "out")
    assert {kind for kind, *_ in found} == {"blank slices", "no tumour", "constant channel", "single slice"}
    assert HtmlPage((tmp_path / "out/inspect.html").read_text()).loaded == ["data:,"]


def test_page_that_cannot_be_written_is_one_line(tmp_path, capsys):
    Case(1).write(tmp_path / "source" / "A")
    (tmp_path / "out" / "inspect.html").mkdir(parents=True)
    assert main([str(tmp_path / "source"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("(Is a directory); choose another --out")
