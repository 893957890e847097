"""Nothing of a request stays on the disk, in an open file, or in the log."""

import os
import stat
from pathlib import Path

import pytest

from tests.support.load import request
from tests.support.png import png_chunk
from tests.support.service import encoded, exchange, image
from tests.support.service_process import service_process
from tests.support.waiting import wait_until

MARK = b"Jane_Q_Patient"
PNG = encoded(image(), ".png")
MARKED = PNG[:33] + png_chunk(b"tEXt", b"Comment\0" + MARK) + PNG[33:]
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="' + MARK + b'"; filename="' + MARK + b'.png"\r\n\r\n',
    b"\r\n--x--\r\n",
)
LOCAL = b"Host: localhost\r\n\r\n"
NAME = MARK.decode()

REQUESTS = {
    "file": (request(f"/predict?filename={NAME}.png", MARKED, "image/png"), 200),
    "overlays": (request(f"/predict?output=json&filename={NAME}.png", MARKED, "image/png"), 200),
    "form": (request("/predict", MARKED.join(FORM), "multipart/form-data; boundary=x"), 200),
    "form on disk": (request("/predict", (MARK * 10**5).join(FORM), "multipart/form-data; boundary=x"), 400),
    "body on disk": (request("/predict?filename=a.png", MARK * 10**5, "image/png"), 400),
    "unknown kind": (request(f"/predict?filename=a.{NAME}", MARK, "text/plain"), 415),
    "illegal option": (request(f"/predict?output={NAME}", MARK, "text/plain"), 422),
    "path": (b"GET /" + MARK + b"/" + MARK + b" HTTP/1.1\r\n" + LOCAL, 404),
    "query": (b"GET /healthz?" + MARK + b" HTTP/1.1\r\n" + LOCAL, 200),
    "method": (MARK + b" /healthz HTTP/1.1\r\n" + LOCAL, 405),
    "host": (b"GET / HTTP/1.1\r\nHost: " + MARK + b"\r\n\r\n", 400),
    "headers": (
        b"GET /healthz HTTP/1.1\r\nAuthorization: Bearer " + MARK + b"\r\nCookie: " + MARK + b"\r\n" + LOCAL,
        200,
    ),
    "no HTTP": (MARK + b"\r\n\r\n", 400),
    "upgrade": (b"GET /healthz HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: " + MARK + b"\r\n" + LOCAL, 200),
    "broken off": (
        b"POST /predict HTTP/1.1\r\nContent-Length: 9000000\r\n" + LOCAL + MARK * 10**5,
        None,
    ),
}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux for the open files of the service")
def test_no_part_of_a_request_stays_on_disk_in_an_open_file_or_in_the_log(model, tmp_path):
    with service_process(model, tmp_path) as (process, port):
        for name, (raw, status) in REQUESTS.items():
            answer = exchange(port, raw, ends=True)
            assert answer[9:12] == (b"" if status is None else b"%d" % status), (name, answer)
            wait_until(lambda: open_files_with(process.pid, MARK) == [], seconds=10)
        (folder,) = tmp_path.iterdir()
        assert list(folder.iterdir()) == []
        process.terminate()
        _, log = process.communicate(timeout=10)
    assert "POST /predict 200" in log
    assert "GET (another path) 404" in log
    assert "(another method) /healthz 405" in log
    assert NAME not in log
    assert list(tmp_path.iterdir()) == []


def open_files_with(pid: int, mark: bytes) -> list[str]:
    """Return the open files of a process, also those that have no name any more, whose content holds some bytes."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if stat.S_ISREG(link.stat().st_mode) and mark in link.read_bytes():
                found.append(os.readlink(link))
        except OSError:  # it was closed in this moment
            continue
    return found
