"""The folder in which the program keeps files from one run to the next: in the user's home, or where one may write.

A container often runs as a user without a home, or with one that is read-only.
"""

import getpass
import os
import pwd
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path

from data.errors import UserError

NAME = "tumour-search"


def cache_folder() -> Path:
    """Return the folder: `tumour-search` in $XDG_CACHE_HOME, else ~/.cache; if it cannot be written, `private_folder`.

    Raises:
        UserError: As `private_folder`.
    """
    home = find_home()
    if cache_home := os.environ.get("XDG_CACHE_HOME"):
        usual, problem = Path(cache_home) / NAME, f"XDG_CACHE_HOME is {cache_home}, which cannot be written"
    else:
        usual, problem = home and home / ".cache" / NAME, home_problem(home)
    return usual if usual and can_write(usual) else private_folder(problem)


def find_home() -> Path | None:
    """Return the user's home folder: HOME, else the system's entry; None without either."""
    if home := os.environ.get("HOME"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def provide_user() -> None:
    """Set HOME and USER for a user who has none.

    Ray, OpenVINO and MONAI ask for them while they are imported, and fail without them; so this comes before.

    Raises:
        UserError: As `private_folder`.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"user{os.getuid()}"
    if find_home() is None:
        os.environ["HOME"] = str(private_folder(home_problem(None)))


def home_problem(home: Path | None) -> str:
    """Return why nothing can be written to the home folder, if so it is."""
    return f"the home folder {home} cannot be written" if home else f"user {os.getuid()} has no home folder (HOME)"


def can_write(folder: Path) -> bool:
    """Return whether files can be written in a folder, or in the nearest one above it if it does not exist yet."""
    folder = folder.absolute()
    nearest = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError:
        return False
    return True


@cache
def private_folder(problem: str) -> Path:
    """Return a folder of this user's own among the temporary ones, and say once that it is used, and why.

    It stays, so that the next run finds what it holds.

    Raises:
        UserError: No temporary folder can be written.
    """
    try:
        folder = _own(Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}")
    except FileNotFoundError as error:
        raise UserError(f"{problem}, nor in any temporary folder ({error}); set TMPDIR to one") from error
    print(f"note: {problem}; files that would be there are kept in {folder}", file=sys.stderr)
    return folder


def _own(folder: Path) -> Path:
    """Return the folder, after making it; another, new one if that name is taken by somebody else."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
    except OSError:  # a file or a dangling link of that name
        pass
    return Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
