"""An S3 server on loopback, by moto, which records pyarrow's real requests, and can refuse them or go away."""

import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyarrow.fs import S3FileSystem

from search.storage import bucket as bucket_module
from search.storage.storage_path import StoragePath

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class S3Server:
    """A server whose content survives `stop` and `start`."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """Method, path and query of each request."""

        self.refusal: str | None = None
        """The HTTP status with which every request is refused; None while requests are answered."""

        self.num_torn = 0
        """How many of the next uploads lose their connection halfway."""

        self.delay_seconds = 0.0
        """How long the server thinks before it answers."""

        self._app = DomainDispatcherApplication(create_backend_app)
        self._port = 0
        self.start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = make_server("127.0.0.1", self._port, self._answer, threaded=True, request_handler=_Silent)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Stop the server while the context lasts."""
        self.stop()
        yield
        self.start()

    @contextmanager
    def refusing(self, status: str = "403 Forbidden") -> Iterator[None]:
        """Refuse every request while the context lasts."""
        self.refusal = status
        try:
            yield
        finally:
            self.refusal = None

    def uri(self, bucket: str, prefix: str = "/runs") -> str:
        """Return the URI of a prefix in a bucket, as a user writes it for `--out`."""
        return f"s3://{bucket}{prefix}?endpoint_override={self.endpoint}&scheme=http&region=us-east-1"

    def new_bucket(self) -> str:
        """Create a bucket and return its name."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        S3FileSystem(
            endpoint_override=self.endpoint, scheme="http", region="us-east-1", allow_bucket_creation=True
        ).create_dir(name)
        return name

    def _answer(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}")
        time.sleep(self.delay_seconds)
        if self.num_torn and environ["REQUEST_METHOD"] == "PUT":
            self.num_torn -= 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            raise ConnectionAbortedError("halfway")
        if self.refusal is None:
            return self._app(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(self.refusal, [("Content-Type", "application/xml"), ("Content-Length", str(len(DENIED)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [DENIED]


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None: ...


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A server, with credentials in the environment, where users have them too; moto accepts any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        server = S3Server()
        yield server
        server.stop()


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path, monkeypatch) -> str:
    """The URI of a prefix in a new bucket; the user's cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return s3_server.uri(s3_server.new_bucket())


def location(uri: str) -> StoragePath:
    """Return the path in a bucket that a URI names."""
    return bucket_module.open_bucket(uri)
