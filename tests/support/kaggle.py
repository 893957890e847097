"""Archives like those of Kaggle, and a server that sends them."""

import base64
import hashlib
import json
import random
import re
import socket
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data import download
from data.download import Counts, count_files, main

ROOTS = ("kaggle_3m", "lgg-mri-segmentation/kaggle_3m")
PATIENTS = {"TCGA_CS_1": 3, "TCGA_DU_2": 2}
EXPECTED = Counts(num_patients=2, num_slices=5)
CLICKS = r"kaggle\.com/datasets/mateuszbuda/lgg-mri-segmentation, sign in, and click Download.*about 750 MB"


def write_archive(
    path: Path,
    *,
    patients: Mapping[str, int] = PATIENTS,
    roots: Sequence[str] = ROOTS,
    extra: Iterable[tuple[str | zipfile.ZipInfo, str | bytes]] = (),
    padding: int = 0,
) -> Path:
    """Write an archive as Kaggle packs the set, with the given numbers of slices and extra entries; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for root in roots:
            for patient, num_slices in patients.items():
                for number in range(1, num_slices + 1):
                    archive.writestr(f"{root}/{patient}/{patient}_{number}.tif", f"image {number}")
                    archive.writestr(f"{root}/{patient}/{patient}_{number}_mask.tif", f"mask {number}")
            archive.writestr(f"{root}/data.csv", random.Random(0).randbytes(padding))
        for name, content in extra:
            archive.writestr(name, content)
    return path


class Kaggle(ThreadingHTTPServer):
    """The part of Kaggle that kagglehub uses: an API that says the version and redirects to a store with ranges.

    kagglesdk accepts only the addresses on its own list, but uses the proxy of the environment, so this is a proxy.
    """

    daemon_threads = True

    def __init__(self, archive: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.archive = archive
        self.status = 200
        self.bytes_before_cut: int | None = None
        self.requests: list[tuple[str, str | None]] = []


class _Handler(BaseHTTPRequestHandler):
    @property
    def kaggle(self) -> Kaggle:
        assert isinstance(self.server, Kaggle)
        return self.server

    def log_message(self, format: str, *args: object) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        name = self.path.rpartition("/")[2]
        self.kaggle.requests.append((name, None))
        if name == "GetDataset":
            body = json.dumps({"ref": download.HANDLE, "currentVersionNumber": 2}).encode()
            self.reply(self.kaggle.status, body, {"Content-Type": "application/json"})
        else:
            self.reply(302, b"", {"Location": "http://localhost/store/archive.zip?X-Goog-Signature=SECRET"})

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.kaggle.requests.append(("store", asked))
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        digest = base64.b64encode(hashlib.md5(self.kaggle.archive).digest()).decode()
        headers = {"Accept-Ranges": "bytes", "x-goog-hash": f"md5={digest}", "Content-Type": "application/zip"}
        self.reply(206 if asked else 200, self.kaggle.archive[first:], headers, self.kaggle.bytes_before_cut)

    def reply(self, status: int, body: bytes, headers: dict[str, str], bytes_before_cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:bytes_before_cut])
        self.close_connection = True


def closed_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def run(to: Path) -> int:
    """Run the download and return its exit status."""
    return main(["lgg", "--to", str(to)])


def assert_complete(to: Path) -> None:
    """Check that the whole set was downloaded."""
    assert count_files(to / "kaggle_3m") == EXPECTED
    assert (to / "kaggle_3m/TCGA_CS_1/TCGA_CS_1_3_mask.tif").read_text() == "mask 3"
    assert not (to / ".partial").exists()


def assert_failed(to: Path, capsys: pytest.CaptureFixture[str], message: str) -> None:
    """Run the download; check that it fails with a message and leaves no folder of patients."""
    assert run(to) == 2
    assert re.search(message, capsys.readouterr().err, re.DOTALL)
    assert not (to / "kaggle_3m").exists()
