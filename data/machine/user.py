"""The user of this machine: a name and a home folder, which a container's user often lacks."""

import getpass
import os
import pwd
from pathlib import Path

from data.machine.private_folder import NAME, can_write, private_folder


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


def find_home() -> Path | None:
    """Return the user's home folder: HOME, else the system's entry; None without either."""
    if home := os.environ.get("HOME"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def home_problem(home: Path | None) -> str:
    """Return why nothing can be written to the home folder, if so it is."""
    return f"the home folder {home} cannot be written" if home else f"user {os.getuid()} has no home folder (HOME)"


def cache_folder() -> Path:
    """Return the folder in which the program keeps files from one run to the next.

    It is `tumour-search` in $XDG_CACHE_HOME, else ~/.cache; if that cannot be written, `private_folder`.

    Raises:
        UserError: As `private_folder`.
    """
    home = find_home()
    if cache_home := os.environ.get("XDG_CACHE_HOME"):
        usual, problem = Path(cache_home) / NAME, f"XDG_CACHE_HOME is {cache_home}, which cannot be written"
    else:
        usual, problem = home and home / ".cache" / NAME, home_problem(home)
    return usual if usual and can_write(usual) else private_folder(problem)
