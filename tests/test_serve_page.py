"""The service's page in a real browser, driven over WebDriver: an image is chosen or dropped, its outline is shown.

Chromium's own log is read as well: no error on the console, and no request to any other host.
"""

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from test_serve import TOKEN, nifti, post, serving, write_model

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)",
    ),
]

FLAGS = (
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
    *("disable-component-update", "disable-sync", "disable-dev-shm-usage", "disable-default-apps"),
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's name for a reference (https://www.w3.org/TR/webdriver2/)


class Browser:
    """As much of WebDriver as these tests need."""

    def __init__(self, port: int, profile: Path) -> None:
        self._base = f"http://127.0.0.1:{port}/session"
        options = {"args": [*(f"--{flag}" for flag in FLAGS), f"--user-data-dir={profile}"]}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        created = self._ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/{created['sessionId']}"

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:500]) from None

    def open(self, url: str) -> None:
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def type(self, identifier: str, text: str) -> None:
        found = self._ask("POST", "/element", {"using": "css selector", "value": f"#{identifier}"})
        self._ask("POST", f"/element/{found[ELEMENT]}/value", {"text": text})

    def text(self, identifier: str) -> str:
        return self.run("return document.getElementById(arguments[0]).innerText", identifier)

    def wait(self, script: str) -> Any:
        deadline = time.monotonic() + 20
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, script
            time.sleep(0.05)
        return value

    def emulate(self, command: str, **values: object) -> None:
        self._ask("POST", "/goog/cdp/execute", {"cmd": f"Emulation.{command}", "params": values})

    def console(self) -> list[str]:
        return [one["message"] for one in self._ask("POST", "/se/log", {"type": "browser"})]

    def hosts(self) -> set[str]:
        """Return which hosts were asked, for anything, since the last call."""
        events = [
            json.loads(one["message"])["message"] for one in self._ask("POST", "/se/log", {"type": "performance"})
        ]
        urls = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
        return {urlsplit(url).netloc for url in urls if urlsplit(url).scheme in ("http", "https", "ws", "wss")}

    def quit(self) -> None:
        self._ask("DELETE", "")


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        port = next(int(found[1]) for line in driver.stdout if (found := re.search(r"on port (\d+)\.", line)))
        browser = Browser(port, tmp_path_factory.mktemp("profile"))
        yield browser
        browser.quit()
    finally:
        driver.terminate()
        driver.communicate()


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("service")
    with serving(write_model(folder / "model.onnx", size=64), folder, "--max-megabytes", "1") as port:
        yield port


@pytest.fixture
def page(browser, port) -> Iterator[Browser]:
    """Yield the browser at the page; at the end, nothing must have gone wrong, or elsewhere."""
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


def test_page_takes_slices_that_are_dropped_on_it(page):
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
        ("scan.png", b"no image", "scan.png: is no TIFF, PNG or JPEG (it begins with 6e 6f 20"),
        ("notes.docx", b"PK", "the file 'notes.docx' came, but names must end in one of .nii.gz"),
        ("huge.png", bytes(1_100_000), "The files have 1.1 MB, but this service takes at most 1."),
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


def test_page_shows_a_nifti_with_its_volume_once_the_token_is_given(browser, tmp_path):
    model = write_model(tmp_path / "model.onnx", ("t1", "flair"))
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
    assert "did not answer" in browser.wait("return document.getElementById('problem').innerText")
    browser.console()


def test_page_for_programs_lists_the_routes(browser, port):
    browser.hosts()
    browser.open(f"http://127.0.0.1:{port}/docs")
    assert "POST /predict" in browser.wait("return document.getElementById('routes').innerText")
    assert f"http://127.0.0.1:{port}/predict?filename=scan.png" in browser.text("example")
    assert browser.hosts() == {f"127.0.0.1:{port}"}
    assert browser.console() == []
