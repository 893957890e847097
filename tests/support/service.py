"""The service in a thread, and requests to it."""

import http.client
import io
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import nibabel
import numpy as np
import tifffile
import tyro

from data.preprocess import Preprocessing
from model.inference.runtime import load_model
from model.serve.__main__ import Arguments, prepare_server
from model.serve.batching import Batcher
from model.serve.server import listen
from tests.support.hand_model import write_model_of

RGB = ("pre", "flair", "post")
TOKEN = "0123456789abcdef-secret"


def write_service_model(path: Path, names: tuple[str, ...] = RGB, *, size: int = 16) -> Path:
    """Write the hand-written model for these channels, for NIfTI files unless they are RGB's, and return its path."""
    data_format = "lgg" if names == RGB else "nifti"
    return write_model_of(path, preprocessing=Preprocessing(size=size), channel_names=names, data_format=data_format)


@contextmanager
def serving(
    model: Path, folder: Path, *options: str, token: str | None = None, slow: Callable[[], None] | None = None
) -> Iterator[int]:
    """Run the service in a thread and yield its port; `slow` is called before each batch."""
    arguments = tyro.cli(Arguments, args=[str(model), *options])
    network, settings = load_model(model, runtime=arguments.runtime)

    def run(*batch: np.ndarray) -> np.ndarray:
        if slow is not None:
            slow()
        return network(*batch)

    with listen("127.0.0.1", 0) as listener, Batcher(run, arguments.batching) as batcher:
        server = prepare_server(arguments, batcher, settings, folder=folder, token=token, is_local=True)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


class Reply(NamedTuple):
    """An answer of the service."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def error(self) -> str:
        """The message of an answer that must be an error."""
        content = json.loads(self.body)
        assert content.keys() == {"error"}
        return content["error"]


def decoded(content: bytes) -> np.ndarray:
    """Return the pixels of an encoded image, with channels in OpenCV's order."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return pixels


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """Return the answer to a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


def exchange(port: int, *parts: bytes, ends: bool = False) -> bytes:
    """Return all that the service answers to bytes over one connection; nothing if it only closes the connection.

    Args:
        ends: Whether the client says after the last part that it will send nothing more.
    """
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with suppress(OSError):  # it may have ended the connection already
            for part in parts:
                connection.sendall(part)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                answer += part
    return answer


def post(port: int, name: str, content: bytes, *, output: str = "mask", headers: dict[str, str] | None = None) -> Reply:
    """Return the answer to one file, sent as the body of the request."""
    return ask(port, "POST", f"/predict?output={output}&filename={name}", content, headers)


def post_form(port: int, *files: tuple[str, str, bytes], output: str = "mask") -> Reply:
    """Return the answer to a form of files, each given as field, name and content."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for field, name, content in files
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    return ask(port, "POST", f"/predict?output={output}", b"".join(parts) + b"--x--\r\n", headers)


def image(seed: int = 0, height: int = 20, width: int = 12, channels: int = 3) -> np.ndarray:
    """Return a random image."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(pixels: np.ndarray, suffix: str) -> bytes:
    """Return an image, encoded as in a file with this suffix."""
    if suffix == ".tif":
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, photometric="rgb")
        return buffer.getvalue()
    return cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes()


def nifti(path: Path, seed: int, shape: tuple[int, int, int] = (12, 14, 5)) -> Path:
    """Write a random volume and return its path; its axes point left, posterior and superior, by 1, 2 and 3 mm."""
    values = np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)
    nibabel.Nifti1Image(values, np.diag([-1.0, -2.0, 3.0, 1.0])).to_filename(path)
    return path
