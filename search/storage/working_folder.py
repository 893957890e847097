"""The folder of an experiment: in the folder that `--out` names, or for a bucket, a working folder on this machine.

Commands always work in a folder. For a bucket it is in the user's cache, in a folder for all experiments of that
bucket, which has a file bucket.txt with the bucket's URI. So functions only pass the path of an experiment's folder,
and `storage_path_of` finds the bucket.
"""

import hashlib
import re
import shlex
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from tyro.constructors import PrimitiveConstructorSpec

from data.atomic import write
from data.errors import UserError
from data.machine.user import cache_folder
from search.storage.bucket import check_uri, open_bucket
from search.storage.storage_path import StoragePath, local_path

DEFAULT_OUT = Path("runs")
"""The default of `--out`."""

URI_FILE = "bucket.txt"
"""A file beside the working folders of a bucket's experiments that holds the bucket's URI."""


def parse_out(text: str) -> Path:
    """Return the folder of all experiments for a value of `--out`: the folder itself, or one in the cache for a bucket.

    Raises:
        UserError: The value is a URI, but not of a bucket, or it has credentials in it.
    """
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        return Path(text)
    uri = check_uri(text)
    parts = urlsplit(uri)
    # The same name at another endpoint is another bucket; in another region it is the same.
    options = {key: value for key, value in parse_qsl(parts.query) if key != "region"}
    identity = f"{parts.scheme}://{parts.netloc}{parts.path} {sorted(options.items())}"
    slug = re.sub(r"[^A-Za-z0-9]+", "-", parts.netloc + parts.path).strip("-")[:60]
    folder = cache_folder() / "experiments" / f"{slug}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    mark_working_folder(folder, uri)
    return folder


def parse_folder(text: str | Path) -> Path:
    """Return the folder of an experiment for its path, or its address such as "s3://bucket/prefix/name".

    Raises:
        UserError: As `parse_out`.
    """
    if "://" not in str(text):
        return Path(text)
    address, question, options = str(text).partition("?")
    out, _, name = address.rstrip("/").rpartition("/")
    return parse_out(out + question + options) / name


def format_out(folder: Path) -> str:
    """Return the value of `--out` for a folder of all experiments: its path, or the URI of its bucket."""
    return bucket_uri(folder) or str(folder)


def display_folder(folder: Path) -> str:
    """Return where an experiment is, for people: its folder, or its URI in the bucket without options."""
    uri = bucket_uri(folder.parent)
    return f"{uri.partition('?')[0]}/{folder.name}" if uri else str(folder)


def format_command(module: str, folder: Path, *options: str) -> str:
    """Return a command for an experiment, quoted for a shell; `search.tune` resumes it.

    Args:
        folder: The experiment's folder. `--out` names the folder above, unless that is the default of `--out` here.
    """
    name = ["--resume", folder.name] if module == "search.tune" else [folder.name]
    out = [] if folder.parent.resolve() == DEFAULT_OUT.resolve() else ["--out", format_out(folder.parent)]
    return shlex.join(["python", "-m", module, *name, *options, *out])


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
"""The folder of all experiments, as an option of a command line."""


def check_name(option: str, name: str) -> None:
    """Raise UserError if the name of an experiment, the value of an option, cannot be that of a folder; "" is legal."""
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UserError(
            f"{option} is {name!r}, but it becomes a folder and a W&B group: use letters, digits, dots, dashes "
            "and underscores, at most 100, and begin with a letter or digit"
        )


def bucket_uri(out: Path) -> str | None:
    """Return the URI of the bucket to which a folder of working folders belongs; None for any other folder."""
    try:
        return (out / URI_FILE).read_text().strip()
    except OSError:
        return None


def mark_working_folder(out: Path, uri: str) -> None:
    """Mark a folder as that of a bucket's working folders, by writing the bucket's URI into it."""
    if bucket_uri(out) != uri:
        out.mkdir(parents=True, exist_ok=True)
        write(out / URI_FILE, uri.encode())


def storage_path_of(folder: Path) -> StoragePath:
    """Return where the files of a folder are kept: in the bucket whose working folder it is, else in the folder itself.

    Args:
        folder: The folder of an experiment, or that of all experiments.

    Raises:
        UserError: The bucket cannot be reached. The message says what to do.
    """
    if uri := bucket_uri(folder):
        return open_bucket(uri)
    uri = bucket_uri(folder.parent)
    return open_bucket(uri) / folder.name if uri else local_path(folder)
