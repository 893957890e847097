"""Check a bucket's URI, open the bucket, and explain its errors."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from urllib.parse import parse_qsl, urlencode, urlsplit

from pyarrow import ArrowInvalid
from pyarrow.fs import FileSelector, FileSystem

from data.errors import UserError, first_line
from search.storage.storage_path import StoragePath

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
"""The buckets that pyarrow supports: S3 and all with its protocol (MinIO, Ceph, R2), Google's, Azure's."""

EXAMPLES = "s3://bucket/prefix, gs://bucket/prefix, abfs://container@account.dfs.core.windows.net/prefix"

PERMISSIONS = "s3:ListBucket on the bucket, s3:GetObject, s3:PutObject and s3:DeleteObject below the prefix"

ADVICE = (
    ("NO_SUCH_BUCKET|NoSuchBucket|ContainerNotFound", "there is no bucket {bucket!r}: make it, or name another"),
    (
        "INVALID_ACCESS_KEY|SIGNATURE|InvalidToken|ExpiredToken|INVALID_CLIENT_TOKEN|MISSING_AUTH|UNRECOGNIZED",
        "the credentials are not accepted: give valid ones (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or "
        "the machine's role)",
    ),
    (
        "ACCESS_DENIED|AccessDenied|FORBIDDEN|HTTP status 403|response code: 403|Unauthorized",
        f"access is denied: give this machine credentials (environment, profile or role) that may {PERMISSIONS}",
    ),
    (
        "PERMANENT_REDIRECT|PermanentRedirect|AuthorizationHeaderMalformed|response code: 301|HTTP status 301",
        "{bucket!r} is in another region: set AWS_REGION, or add ?region=NAME",
    ),
    (
        "NETWORK_CONNECTION|resolve|timed? ?out|connect",
        "it does not answer: check the network, AWS_ENDPOINT_URL (or ?endpoint_override=HOST:PORT&scheme=http), and "
        "the region (AWS_REGION, or ?region=NAME)",
    ),
    ("query parameter", "legal after ? are region, endpoint_override and scheme"),
)
"""Patterns of pyarrow's error messages, and what the user can do. The first pattern that matches counts."""


@cache
def open_bucket(uri: str) -> StoragePath:
    """Return the storage path that a bucket's URI names, after checking that it can be listed.

    Raises:
        UserError: There is no such bucket, access is denied, or it does not answer. The message says what to do.
    """
    # A small file is then written in one request, instead of the three that a large one takes.
    options = {"allow_delayed_open": "true"} if uri.startswith("s3:") else {}
    try:
        filesystem, path = FileSystem.from_uri(_with_query(uri, options))
        location = StoragePath(filesystem, path.rstrip("/"))
        with suppress(FileNotFoundError):  # nothing has been written below the prefix yet
            filesystem.get_file_info(FileSelector(location.path))
    except (OSError, ArrowInvalid) as error:  # ArrowInvalid: the URI cannot be parsed
        raise UserError(f"--out {uri}: {explain_bucket_error(error, uri)}") from error
    return location


def explain_bucket_error(error: Exception, uri: str) -> str:
    """Return what an error of a bucket means and what to do, with the first line of pyarrow's message in brackets."""
    words = str(error)
    brief = first_line(words)
    for pattern, advice in ADVICE:
        if re.search(pattern, words, re.IGNORECASE):
            return f"{advice.format(bucket=urlsplit(uri).netloc)} ({brief})"
    return brief


@contextmanager
def explained_bucket_errors(uri: str | None) -> Iterator[None]:
    """Turn the OSError of a bucket that refuses or does not answer into a UserError that says what to do.

    Args:
        uri: The bucket; None if the files are in a folder, whose errors are not changed.

    Raises:
        UserError: The bucket refused.
        FileNotFoundError: A file is missing, which only the caller can judge.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if uri is None:
            raise
        raise UserError(f"--out {uri}: {explain_bucket_error(error, uri)}") from error


def check_uri(text: str) -> str:
    """Return a bucket's URI with the endpoint and region of the environment added, so that other machines find it too.

    Raises:
        UserError: `text` is not the URI of a bucket, or it has credentials in it.
    """
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise UserError(f"out begins with {parts.scheme}://, but must be a folder or a bucket, such as {EXAMPLES}")
    if parts.password is not None or (parts.username is not None and not parts.scheme.startswith("abfs")):
        raise UserError(
            "out has a user or a password in it, which would be written to config.json: leave it out, and give "
            "credentials in the cloud's usual way (environment, profile or role)"
        )
    query = parse_qsl(parts.query)
    if secret := [key for key, _ in query if re.search("key|secret|token|password|credential", key)]:
        raise UserError(
            f"out has {secret[0]}=, which would be written to config.json: leave it out, and give credentials in the "
            "environment"
        )
    if not parts.netloc:
        raise UserError(f"out is {text!r}, which names no bucket: give one, such as {EXAMPLES}")
    uri = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return _with_query(uri, _s3_options() | dict(query) if parts.scheme == "s3" else dict(query))


def _s3_options() -> dict[str, str]:
    """Return the endpoint and region of S3 that the environment names; never credentials."""
    options = {}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        options = {"endpoint_override": parts.netloc.rpartition("@")[2], "scheme": parts.scheme}
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        options["region"] = region
    return options


def _with_query(uri: str, options: dict[str, str]) -> str:
    separator = "&" if "?" in uri else "?"
    return f"{uri}{separator}{urlencode(options, safe=':')}" if options else uri
