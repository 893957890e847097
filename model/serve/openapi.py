"""The texts and schemas that `/openapi.json` and the page `/docs` show."""

from typing import Any

DESCRIPTION = """Marks the tumour in MR images with an exported model. For research; not a medical device.

Errors are JSON, {"error": "what is wrong, and what to do"}, with one of these statuses: 400 a file cannot be used, 401
the token is missing or wrong, 408 the request took too long, 413 the request is too large, 415 the kind of file is
unknown, 422 the files or options do not suit the model, 503 too many requests are running."""

PREDICT_SUMMARY = "Return the mask of the tumour"
PREDICT = """Send one file as the body, with ?filename=scan.png or its Content-Type, or several as multipart/form-data.

PNG, JPEG or TIFF: one file is a volume of one slice, which is normalised by itself. Several files are the slices of one
patient, named NAME_NUMBER.png; their masks come back as a ZIP. Volumes (.nii, .nii.gz, .mha, .nrrd): send one
file for each channel of the model. The name of the field or the end of the file's name says which channel it is
(CASE_flair.nii.gz); the mask has the format and the geometry of the first channel. A mask of several regions holds
their labels, as the training data did."""

HEALTH_SUMMARY = "Return whether the service runs, and which model it serves"

_BYTES = {"type": "string", "format": "binary"}

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "additionalProperties": _BYTES}},
            **{kind: {"schema": _BYTES} for kind in ("image/png", "image/jpeg", "image/tiff", "application/gzip")},
        },
    }
}
"""Request body of /predict."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The output; X-Tumour-Pixels, X-Tumour-Share and X-Tumour-Ml say how much tumour it has",
        "content": {kind: {} for kind in ("image/png", "image/tiff", "application/gzip", "application/zip")},
    },
    400: {"description": "A file cannot be used"},
    401: {"description": "The bearer token is missing or wrong"},
    408: {"description": "The request took too long to arrive"},
    413: {"description": "The request is too large"},
    415: {"description": "The kind of file is unknown"},
    422: {"description": "The files or options do not suit the model"},
    503: {"description": "Too many requests are running"},
}
"""Answers of /predict, by status."""
