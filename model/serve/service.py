"""The service as an ASGI application: its routes, and the answers to requests and errors."""

import asyncio
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from model.inference.volume import Network
from model.predict.volume_files import InputOptions
from model.serve import openapi
from model.serve.answer import Output
from model.serve.batching import Stopped
from model.serve.guard import App, Guard, refusal_response
from model.serve.limits import Allowance, Limits, Refusal
from model.serve.pages import page
from model.serve.prediction import UploadPredictor
from model.serve.upload import MAX_FILES, Upload
from model.settings import Settings

MAX_FIELD_BYTES = 1000
"""Limit for the fields of a form that are not files; the service reads no such field."""


PREPARED_PER_VALUE = 16
"""Bytes of slices at the network's size that may be in memory for each value of the files that may: with the default
of `max_values` 1 GB, of which a BraTS case at 1024 x 1024 pixels takes 650 MB."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """The answer of /healthz."""

    status: str
    model: str
    channels: tuple[str, ...]
    takes: str
    """Kind of file that the model was trained on: `images` or `nifti`."""

    size: int
    threshold: float | None
    """None if each of several regions has its own."""

    regions: dict[str, tuple[int, ...]]
    """The labels of each of several regions, by its name; empty if the model segments one."""

    region_thresholds: dict[str, float]
    """The threshold of each of them."""

    max_megabytes: int
    token_needed: bool


def build_service(
    model_name: str,
    network: Network,
    settings: Settings,
    *,
    folder: Path,
    options: InputOptions,
    limits: Limits,
    max_batch: int,
    token: str | None,
    is_local: bool,
) -> App:
    """Return the ASGI application that serves a network, which many threads may call at once."""
    app = _new_app()
    predictor = UploadPredictor(
        network=network,
        settings=settings,
        folder=folder,
        options=options,
        allowance=Allowance(limits.max_values),
        prepared=Allowance(PREPARED_PER_VALUE * limits.max_values, "bytes at the network's size"),
        batch_size=max_batch,
    )
    health = Health(
        status="ok",
        model=model_name,
        channels=settings.channel_names,
        takes=settings.files.name,
        size=settings.preprocessing.size,
        threshold=None if len(settings.regions) > 1 else settings.threshold,
        regions={one.name: one.labels for one in settings.regions} if len(settings.regions) > 1 else {},
        region_thresholds=settings.threshold_by_region,
        max_megabytes=limits.max_megabytes,
        token_needed=token is not None,
    )
    _add_routes(app, predictor, health)
    _answer_errors(app)
    return Guard(app, limits, token=token, is_local=is_local)


def _new_app() -> FastAPI:
    return FastAPI(
        title="Tumour search",
        description=openapi.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        # FastAPI can send telemetry to others if the environment says so; this service never does.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )


def _add_routes(app: FastAPI, predictor: UploadPredictor, health: Health) -> None:
    async def predict(request: Request, output: Output = "mask", filename: str = Query("", max_length=200)) -> Response:
        uploads = await _receive(request, filename)
        try:
            return await _in_thread(partial(predictor.respond, uploads, output))
        finally:
            for upload in uploads:
                upload.file.close()

    async def healthz() -> Health:
        return health

    app.add_api_route(
        "/predict",
        predict,
        methods=["POST"],
        summary=openapi.PREDICT_SUMMARY,
        description=openapi.PREDICT,
        openapi_extra=openapi.BODY,
        responses=openapi.RESPONSES,
        response_class=Response,
    )
    app.add_api_route("/healthz", healthz, summary=openapi.HEALTH_SUMMARY)
    app.add_api_route("/", page("page.html"), include_in_schema=False)
    app.add_api_route("/docs", page("docs.html"), include_in_schema=False)


async def _receive(request: Request, filename: str) -> list[Upload]:
    """Return the files of a form, or the body as one file; the caller closes them."""
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        return [Upload("", filename, kind, await _spool(request))]
    try:
        form = await request.form(max_files=MAX_FILES, max_fields=MAX_FILES, max_part_size=MAX_FIELD_BYTES)
    except UnicodeError:  # a form may name any codec of Python's as its charset
        raise Refusal(400, "the names in the form do not suit its charset; send it as UTF-8") from None
    return [
        Upload(name, value.filename or "", value.content_type or "", value.file)
        for name, value in form.multi_items()
        if isinstance(value, UploadFile)
    ]


async def _spool(request: Request) -> IO[bytes]:
    """Return the body as a file, which stays in memory if it is short; Starlette keeps forms in the same way."""
    with ExitStack() as stack:
        body = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=2**20))
        async for part in request.stream():
            body.write(part)
        body.seek(0)
        stack.pop_all()  # the caller closes it
        return body


async def _in_thread(function: Callable[[], Response]) -> Response:
    """Run a slow function in a thread of its own, and return its result.

    The thread is a daemon, so that Ctrl-C need not wait for a large volume, as it would for asyncio's own threads.
    """
    result: Future[Response] = Future()
    result.set_running_or_notify_cancel()  # a request that is cancelled later still ends here

    def work() -> None:
        try:
            result.set_result(function())
        except Exception as error:
            result.set_exception(error)

    threading.Thread(target=work, name="request", daemon=True).start()
    return await asyncio.wrap_future(result)


def _answer_errors(app: FastAPI) -> None:
    """Make the application answer every error in one form, without its traceback, which is in the log only."""

    async def refusal(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return refusal_response(error)

    async def http_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    async def illegal_option(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = [f"{one['loc'][-1]} is {str(one.get('input'))[:40]!r}: {one['msg']}" for one in error.errors()]
        return refusal_response(Refusal(422, "; ".join(found)))

    async def client_gone(_: Request, error: Exception) -> Response:
        return Response(status_code=400)  # the client will not read it

    async def stopped(_: Request, error: Exception) -> Response:
        return refusal_response(Refusal(503, "the service is ending"))

    async def fault(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": "the service failed at this request; its log says why"}, 500)

    app.add_exception_handler(Refusal, refusal)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, illegal_option)
    app.add_exception_handler(ClientDisconnect, client_gone)
    app.add_exception_handler(Stopped, stopped)
    app.add_exception_handler(Exception, fault)
