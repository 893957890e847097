"""The service as an ASGI application: its routes, and what they are answered with."""

import asyncio
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from data.errors import BadFiles, DataError
from model.inference.volume import Network, predict_volume, to_masks
from model.serve.answer import Output, describe, json_answer, mask_file, overlay_file
from model.serve.batching import Stopped
from model.serve.guard import App, Guard, refused
from model.serve.limits import Allowance, Limits, Refusal
from model.serve.pages import page
from model.serve.upload import MAX_FILES, Upload, num_values, read_case, store
from model.settings import ModelError, Settings

MAX_FIELD_BYTES = 1000  # of a form's field that is no file: there is none

DESCRIPTION = """Marks the tumour in MR images with one exported model. For research. Not a medical device.

Errors are JSON, {"error": "what is wrong, and what to do"}: 400 a file that cannot be used, 401 no token, 408 too slow,
413 too large, 415 an unknown kind of file, 422 files or options that do not suit the model, 503 too busy."""

PREDICT = """Send one file as the body, with ?filename=scan.png or its Content-Type, or several as multipart/form-data.

PNG, JPEG or TIFF: one is a volume of one slice, normalised by itself; several are one patient's slices, called
NAME_NUMBER.png, and come back as a ZIP. NIfTI (.nii, .nii.gz): a file for each channel of the model, the field or the
end of the file's name saying which (CASE_flair.nii.gz); the mask is .nii.gz in the geometry of the first channel."""

_BYTES = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "additionalProperties": _BYTES}},
            **{kind: {"schema": _BYTES} for kind in ("image/png", "image/jpeg", "image/tiff", "application/gzip")},
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What was asked for; X-Tumour-Pixels, X-Tumour-Share and X-Tumour-Ml say how much it is",
        "content": {kind: {} for kind in ("image/png", "image/tiff", "application/gzip", "application/zip")},
    },
    **{
        status: {"description": what}
        for status, what in {
            400: "A file cannot be used",
            401: "The bearer token is missing or wrong",
            408: "The request took too long to come",
            413: "The request is too large",
            415: "An unknown kind of file",
            422: "The files or options do not suit the model",
            503: "Too many requests are being worked on",
        }.items()
    },
}


def build_service(
    model_name: str,
    network: Network,
    settings: Settings,
    *,
    folder: Path,
    limits: Limits,
    max_batch: int,
    token: str | None,
    is_local: bool,
) -> App:
    """Return the application that predicts with a network which many threads may call at once."""
    # Whatever a FastAPI sends to others when the environment says so, this one does not.
    silent = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    app = FastAPI(title="Tumour search", description=DESCRIPTION, docs_url=None, redoc_url=None, telemetry=silent)
    allowance = Allowance(limits.max_values)
    predict_one = partial(
        _predict, network=network, settings=settings, folder=folder, allowance=allowance, max_batch=max_batch
    )

    async def predict(request: Request, output: Output = "mask", filename: str = Query("", max_length=200)) -> Response:
        uploads = await _uploads(request, filename)
        try:
            return await _in_thread(partial(predict_one, uploads, output))
        finally:
            for upload in uploads:
                upload.file.close()

    async def healthz() -> dict[str, Any]:
        return {
            "status": "ok",
            "model": model_name,
            "channels": settings.channel_names,
            "takes": settings.files.name,
            "size": settings.preprocessing.size,
            "threshold": settings.threshold,
            "max_megabytes": limits.max_megabytes,
            "token_needed": token is not None,
        }

    app.add_api_route(
        "/predict",
        predict,
        methods=["POST"],
        summary="The mask of the tumour",
        description=PREDICT,
        openapi_extra=_BODY,
        responses=_ANSWERS,
        response_class=Response,
    )
    app.add_api_route("/healthz", healthz, summary="Whether the service runs, and with which model")
    app.add_api_route("/", page("page.html"), include_in_schema=False)
    app.add_api_route("/docs", page("docs.html"), include_in_schema=False)
    _answer_errors(app)
    return Guard(app, limits, token=token, is_local=is_local)


def _predict(
    uploads: list[Upload],
    output: Output,
    *,
    network: Network,
    settings: Settings,
    folder: Path,
    allowance: Allowance,
    max_batch: int,
) -> Response:
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as name:
        received = Path(name) / "received"
        received.mkdir()
        try:
            stored = store(uploads, received)
            with allowance.part(sum(num_values(path) for path in stored.values())):
                case = read_case(stored, settings)
                probability = predict_volume(network, case.images, settings.preprocessing, batch_size=max_batch)
                masks = to_masks(probability, settings)
                numbers = describe(case, masks, settings.threshold)
                if output == "json":
                    return JSONResponse(json_answer(case, masks, Path(name), numbers))
                answer = (mask_file if output == "mask" else overlay_file)(case, masks, Path(name))
        except BadFiles as error:
            raise Refusal(
                400, "; ".join(f"{problem.path.name}: {problem.reason}" for problem in error.problems)
            ) from None
        except (DataError, ModelError) as error:
            status = 422 if isinstance(error, ModelError) else 400
            sentence = str(error).replace(f"{received}/", "").replace(str(received), "the request")
            raise Refusal(status, sentence) from None
        except MemoryError:
            raise Refusal(413, "the request needs more memory than this machine has left; send less") from None
    headers = {
        "Content-Disposition": f'attachment; filename="{answer.name}"',
        "X-Tumour-Pixels": str(numbers["tumour_pixels"]),
        "X-Tumour-Share": str(numbers["tumour_share"]),
    }
    if numbers["tumour_ml"] is not None:
        headers["X-Tumour-Ml"] = str(numbers["tumour_ml"])
    if numbers["note"]:
        headers["X-Note"] = numbers["note"]
    return Response(answer.content, media_type=answer.media_type, headers=headers)


async def _uploads(request: Request, filename: str) -> list[Upload]:
    """Return the files of a form, or the body as one file; the caller closes them."""
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        return [Upload("", filename, kind, await _spooled(request))]
    form = await request.form(max_files=MAX_FILES, max_fields=MAX_FILES, max_part_size=MAX_FIELD_BYTES)
    return [
        Upload(name, one.filename or "", one.content_type or "", one.file)
        for name, one in form.multi_items()
        if isinstance(one, UploadFile)
    ]


async def _spooled(request: Request) -> BinaryIO:
    """Return the body in memory, or on disk if it is long, as that of a form is."""
    with ExitStack() as stack:
        body = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=2**20))
        async for part in request.stream():
            body.write(part)
        body.seek(0)
        stack.pop_all()  # the caller closes it
        return body


async def _in_thread(function: Callable[[], Response]) -> Response:
    """Return what a function returns that takes long.

    The thread is a daemon, so that Ctrl-C need not wait for a large volume; those of asyncio are waited for.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Response] = loop.create_future()

    def settle(value: Response | None, error: BaseException | None) -> None:
        if result.cancelled():
            return
        if error is None:
            result.set_result(value)
        else:
            result.set_exception(error)

    def work() -> None:
        value, failure = None, None
        try:
            value = function()
        except Exception as error:
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=work, name="request", daemon=True).start()
    return await result


def _answer_errors(app: FastAPI) -> None:
    """Have every error answered in one form, and never with a traceback; the log has it."""

    async def refusal(_: Request, error: Refusal) -> Response:
        return refused(error)

    async def http_error(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    async def illegal_option(_: Request, error: RequestValidationError) -> Response:
        found = [f"{one['loc'][-1]} is {str(one.get('input'))[:40]!r}: {one['msg']}" for one in error.errors()]
        return refused(Refusal(422, "; ".join(found)))

    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody is left to read it

    async def stopped(_: Request, error: Stopped) -> Response:
        return refused(Refusal(503, "the service is ending"))

    async def fault(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": "the service failed at this request; its log says why"}, 500)

    for kind, handler in {
        Refusal: refusal,
        HTTPException: http_error,
        RequestValidationError: illegal_option,
        ClientDisconnect: gone,
        Stopped: stopped,
        Exception: fault,
    }.items():
        app.add_exception_handler(kind, handler)
