"""The page of the service in a real browser: choose or drop an image, see its outline."""

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.browser import Browser, needs_browser
from tests.support.service import TOKEN, nifti, post, serving, write_service_model

pytestmark = needs_browser


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("service")
    with serving(write_service_model(folder / "model.onnx", size=64), folder, "--max-megabytes", "1") as port:
        yield port


@pytest.fixture
def page(browser, port) -> Iterator[Browser]:
    """Yield the browser at the page; afterwards check that it logged no error and contacted no other host."""
    browser.hosts()
    browser.open(f"http://127.0.0.1:{port}/")
    browser.wait("return document.getElementById('model').innerText.includes('pre, flair, post')")
    yield browser
    assert browser.hosts() == {f"127.0.0.1:{port}"}
    assert [line for line in browser.console() if "the server responded with a status of 4" not in line] == []


def write_slice(path: Path, radius: int = 20) -> Path:
    """Return the path of a head with a bright tumour in its left half."""
    pixels = np.zeros((128, 128, 3), np.uint8)
    cv2.ellipse(pixels, (64, 64), (44, 56), 0, 0, 360, (70, 80, 90), -1)
    if radius:
        cv2.circle(pixels, (48, 56), radius, (80, 220, 100), -1)
    cv2.imwrite(str(path), pixels)
    return path


RESULT = "return !document.getElementById('result').hidden && document.getElementById('overlay').naturalWidth"
SHOWN = """const image = document.getElementById('overlay'), canvas = document.createElement('canvas');
canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
return [...context.getImageData(arguments[0], arguments[1], 1, 1).data.slice(0, 3)]"""

DROP = """const data = new DataTransfer();
let left = 2;
for (const number of [1, 2]) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 40;
  const context = canvas.getContext('2d', { alpha: false });
  context.fillStyle = 'rgb(60,60,60)'; context.fillRect(0, 0, 40, 40);
  context.fillStyle = 'rgb(60,250,60)'; context.fillRect(5, 5, 10 * number, 10);
  canvas.toBlob(blob => {
    data.items.add(new File([blob], `A_${number}.png`));
    if (!--left)
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
  });
}"""
TURN = "const slider = document.getElementById('slider'); slider.value = 0; slider.dispatchEvent(new Event('input'))"
SAVED_AS = "return document.getElementById('download').download"


def test_page_shows_the_outline_of_a_chosen_image(page, port, tmp_path):
    source = write_slice(tmp_path / "scan.png")
    page.type("files", str(source))
    assert page.wait(RESULT) == 256
    pixels = post(port, "scan.png", source.read_bytes()).headers["x-tumour-pixels"]
    assert page.text("headline") == f"Tumour: {int(pixels):,} pixels"
    assert "1 of 1" in page.text("numbers")
    assert "normalised by itself" in page.text("note")
    assert page.run(SHOWN, 96, 112) == [220, 220, 220], "within the tumour, the image"
    row = [page.run(SHOWN, column, 112) for column in range(50, 66)]
    assert [230, 159, 0] in row, "at its edge, the outline"
    assert page.run(SAVED_AS) == "scan_mask.png"
    assert page.text("problem") == ""


def test_page_accepts_dropped_slices(page):
    page.run(DROP)
    page.wait(RESULT)
    assert "2 of 2" in page.text("numbers")
    assert page.text("caption").startswith("A_2.png"), "the slice with most tumour comes first"
    page.run(TURN)
    assert page.text("caption").startswith("A_1.png: ")
    assert page.run(SAVED_AS) == "masks.zip"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scan.png", b"no image", "scan.png: is not a TIFF, PNG or JPEG (it begins with 6e 6f 20"),
        ("notes.docx", b"PK", "the file is called 'notes.docx', but names must end in one of .nii.gz"),
        ("huge.png", bytes(1_100_000), "The files have 1.1 MB, but this service accepts at most 1 MB."),
    ],
)
def test_page_says_what_is_wrong(page, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    page.type("files", str(tmp_path / name))
    assert message in page.wait("return document.getElementById('problem').innerText")
    assert page.run("return document.getElementById('result').hidden")
    page.type("files", str(write_slice(tmp_path / "good.png")))
    page.wait(RESULT)
    assert page.text("problem") == ""


def test_page_fits_a_phone(page, tmp_path):
    page.emulate("setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    try:
        page.type("files", str(write_slice(tmp_path / "a_name_that_is_as_long_as_those_of_some_hospitals_123.png")))
        page.wait(RESULT)
        assert page.run("return document.documentElement.scrollWidth") <= 360
    finally:
        page.emulate("clearDeviceMetricsOverride")


def test_page_shows_a_nifti_with_its_volume_after_the_token(browser, tmp_path):
    model = write_service_model(tmp_path / "model.onnx", ("t1", "flair"))
    files = [nifti(tmp_path / f"C_{name}.nii.gz", seed, (40, 44, 6)) for seed, name in enumerate(("t1", "flair"))]
    with serving(model, tmp_path, token=TOKEN) as port:
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait("return !document.getElementById('ask').hidden")
        browser.type("files", "\n".join(map(str, files)))
        assert "a bearer token is needed" in browser.wait("return document.getElementById('problem').innerText")
        browser.type("token", TOKEN)
        browser.type("files", "\n".join(map(str, files)))
        browser.wait(RESULT)
        assert re.fullmatch(r"Tumour: [0-9.]+ ml", browser.text("headline"))
        assert "C_flair.nii.gz" in browser.text("numbers")
        assert browser.run("return document.getElementById('slider').max") == "5"
    browser.type("files", str(files[0]))
    assert "did not respond" in browser.wait("return document.getElementById('problem').innerText")
    browser.console()


def test_docs_page_lists_the_routes(browser, port):
    browser.hosts()
    browser.open(f"http://127.0.0.1:{port}/docs")
    assert "POST /predict" in browser.wait("return document.getElementById('routes').innerText")
    assert f"http://127.0.0.1:{port}/predict?filename=scan.png" in browser.text("example")
    assert browser.hosts() == {f"127.0.0.1:{port}"}
    assert browser.console() == []
