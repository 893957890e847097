"""What `--out` names: a folder, or a bucket by its URI, which has a working folder in the user's cache.

Whoever searches, promotes or reads works in the working folder. It lies below a folder that a bucket has for all its
experiments, and there a file says which bucket that is; so the path of an experiment is all that must be known of it.
"""

import hashlib
import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlencode, urlsplit

from pyarrow.fs import FileSelector, FileSystem
from tyro.constructors import PrimitiveConstructorSpec

from data.atomic import write
from data.cache import default_folder
from data.errors import UserError
from search.storage.storage_path import StoragePath, local_path

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
"""Buckets that pyarrow knows: Amazon's and what speaks like it (MinIO, Ceph, R2), Google's, Azure's."""

EXAMPLES = "s3://bucket/prefix, gs://bucket/prefix, abfs://container@account.dfs.core.windows.net/prefix"

URI_FILE = "bucket.txt"
"""Above the working folders of a bucket's experiments: its URI."""

RIGHTS = "s3:ListBucket on the bucket, s3:GetObject, s3:PutObject and s3:DeleteObject below the prefix"


def parse_out(text: str) -> Path:
    """Return the folder of all experiments that `--out` names; of a bucket, that of its working folders.

    Raises:
        ValueError: It is a URI of no bucket, or holds a password.
    """
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        return Path(text)
    uri = check_uri(text)
    parts = urlsplit(uri)
    # The same bucket by another endpoint is another bucket; by another region it is not.
    known = {key: value for key, value in parse_qsl(parts.query) if key != "region"}
    identity = f"{parts.scheme}://{parts.netloc}{parts.path} {sorted(known.items())}"
    slug = re.sub(r"[^A-Za-z0-9]+", "-", parts.netloc + parts.path).strip("-")[:60]
    folder = default_folder().parent / "experiments" / f"{slug}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    mark_working_folder(folder, uri)
    return folder


def format_out(folder: Path) -> str:
    """Return what `--out` is, to mean this folder of all experiments: a path, or a URI."""
    return bucket_uri(folder) or str(folder)


def display_folder(folder: Path) -> str:
    """Return where an experiment lies, for people."""
    uri = bucket_uri(folder.parent)
    return f"{uri.partition('?')[0]}/{folder.name}" if uri else str(folder)


Out = Annotated[
    Path,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="FOLDER|URI",
        instance_from_str=lambda words: parse_out(words[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda folder: [format_out(folder)],
    ),
]
"""A folder of experiments, as an option of a command line."""


def bucket_uri(folder: Path) -> str | None:
    """Return the bucket that a folder holds the working folders of; None for any other folder."""
    try:
        return (folder / URI_FILE).read_text().strip()
    except OSError:
        return None


def mark_working_folder(folder: Path, uri: str) -> None:
    """Make a folder the one of a bucket's working folders."""
    if bucket_uri(folder) != uri:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / URI_FILE, uri.encode())


def storage_path_of(folder: Path) -> StoragePath:
    """Return where an experiment lies, or all of them, by the folder that is worked in: there, or in a bucket.

    Raises:
        ValueError: The bucket cannot be reached; the message says what to do.
    """
    if uri := bucket_uri(folder):
        return open_bucket(uri)
    uri = bucket_uri(folder.parent)
    return open_bucket(uri) / folder.name if uri else local_path(folder)


@cache
def open_bucket(uri: str) -> StoragePath:
    """Return the place in a bucket that a URI names, after making sure that it can be listed.

    Raises:
        ValueError: There is no such bucket, it is not for us, or nobody answers; the message says what to do.
    """
    # A small file in one request, not in the three of a large one.
    options = {"allow_delayed_open": "true"} if uri.startswith("s3:") else {}
    try:
        filesystem, path = FileSystem.from_uri(_with_query(uri, options))
        location = StoragePath(filesystem, path.rstrip("/"))
        with suppress(FileNotFoundError):  # nothing begins with the prefix yet
            filesystem.get_file_info(FileSelector(location.path))
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise UserError(f"--out {uri}: {explain_bucket_error(error, uri)}") from error
    return location


def explain_bucket_error(error: Exception, uri: str) -> str:
    """Return what a bucket's refusal means, and what to do."""
    words = str(error)
    bucket = urlsplit(uri).netloc
    for pattern, sentence in (
        ("NO_SUCH_BUCKET|NoSuchBucket|ContainerNotFound", f"there is no bucket {bucket!r}: make it, or name another"),
        (
            "INVALID_ACCESS_KEY|SIGNATURE|InvalidToken|ExpiredToken|INVALID_CLIENT_TOKEN|MISSING_AUTH|UNRECOGNIZED",
            "the credentials are not accepted: give valid ones (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a "
            "profile, or the machine's role)",
        ),
        (
            "ACCESS_DENIED|AccessDenied|FORBIDDEN|HTTP status 403|response code: 403|Unauthorized",
            f"access is denied: give this machine credentials (environment, profile or role) that may {RIGHTS}",
        ),
        (
            "PERMANENT_REDIRECT|PermanentRedirect|AuthorizationHeaderMalformed|response code: 301|HTTP status 301",
            f"{bucket!r} is in another region: set AWS_REGION, or add ?region=NAME",
        ),
        (
            "NETWORK_CONNECTION|resolve|timed? ?out|connect",
            "nobody answers: look at the network, at AWS_ENDPOINT_URL (or ?endpoint_override=HOST:PORT&scheme=http), "
            "and at the region (AWS_REGION, or ?region=NAME)",
        ),
        ("query parameter", "legal after ? are region, endpoint_override and scheme"),
    ):
        if re.search(pattern, words, re.IGNORECASE):
            return f"{sentence} ({_brief(words)})"
    return _brief(words)


def check_uri(text: str) -> str:
    """Return a bucket's URI with the endpoint that the environment names, so that other machines need not know it.

    Raises:
        ValueError: It is no bucket's, or holds what nobody should read.
    """
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise UserError(f"out begins with {parts.scheme}://, but must be a folder or a bucket, such as {EXAMPLES}")
    if parts.password is not None or (parts.username is not None and not parts.scheme.startswith("abfs")):
        raise UserError(
            "out holds a user or a password, which would be written down: leave it out, and give credentials as the "
            "cloud has it (environment, profile, role)"
        )
    query = parse_qsl(parts.query)
    if secret := [key for key, _ in query if re.search("key|secret|token|password|credential", key)]:
        raise UserError(f"out has {secret[0]}=, which would be written down: give credentials by the environment")
    if not parts.netloc:
        raise UserError(f"out is {text!r}, but names no bucket: it must be like {EXAMPLES}")
    uri = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return _with_query(uri, _s3_options() | dict(query) if parts.scheme == "s3" else dict(query))


def _s3_options() -> dict[str, str]:
    """Return what the environment says of S3, but for credentials."""
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


def _brief(words: str) -> str:
    """Return the line of an error of pyarrow's that says most."""
    line = words.split("\n")[0]
    return line if len(line) < 300 else f"{line[:300]}..."
