"""Archives as Kaggle sends them, and a server that sends them."""

import base64
import hashlib
import json
import random
import re
import socket
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from data import download
from data.download import Counts, count, main

ROOTS = ("kaggle_3m", "lgg-mri-segmentation/kaggle_3m")
PATIENTS = {"TCGA_CS_1": 3, "TCGA_DU_2": 2}
EXPECTED = Counts(num_patients=2, num_slices=5)
CLICKS = r"kaggle\.com/datasets/mateuszbuda/lgg-mri-segmentation, sign in, and click Download.*about 750 MB"


def write_archive(path, *, patients=PATIENTS, roots=ROOTS, extra=(), padding=0):
    """Write an archive as Kaggle packs the set and return its path; extra entries are (name or ZipInfo, content)."""
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
    """The part of Kaggle that kagglehub uses: an API that tells the version and redirects to a store with ranges.

    kagglesdk accepts only addresses of its own list, but uses the proxy of the environment, so this is a proxy.
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

    def log_message(self, format, *args):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        name = self.path.rpartition("/")[2]
        self.kaggle.requests.append((name, None))
        if name == "GetDataset":
            body = json.dumps({"ref": download.HANDLE, "currentVersionNumber": 2}).encode()
            self.reply(self.kaggle.status, body, {"Content-Type": "application/json"})
        else:
            self.reply(302, b"", {"Location": "http://localhost/store/archive.zip?X-Goog-Signature=SECRET"})

    def do_GET(self):
        asked = self.headers["Range"]
        self.kaggle.requests.append(("store", asked))
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        digest = base64.b64encode(hashlib.md5(self.kaggle.archive).digest()).decode()
        headers = {"Accept-Ranges": "bytes", "x-goog-hash": f"md5={digest}", "Content-Type": "application/zip"}
        self.reply(206 if asked else 200, self.kaggle.archive[first:], headers, self.kaggle.bytes_before_cut)

    def reply(self, status, body, headers, bytes_before_cut=None):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:bytes_before_cut])
        self.close_connection = True


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def run(to: Path) -> int:
    return main(["lgg", "--to", str(to)])


def assert_complete(to: Path) -> None:
    assert count(to / "kaggle_3m") == EXPECTED
    assert (to / "kaggle_3m/TCGA_CS_1/TCGA_CS_1_3_mask.tif").read_text() == "mask 3"
    assert not (to / ".partial").exists()


def assert_failed(to: Path, capsys, message: str) -> None:
    assert run(to) == 2
    assert re.search(message, capsys.readouterr().err, re.DOTALL)
    assert not (to / "kaggle_3m").exists()
