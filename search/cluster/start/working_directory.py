"""Check that Ray's workers find this program: they look for modules in the working directory of the driver first."""

from importlib.machinery import PathFinder
from pathlib import Path

import search
from data.errors import UserError


def check_working_directory() -> None:
    """Check that the working directory has no `search` that is not this program's.

    For `data` and `model`, search/__init__.py sees to that itself.

    Raises:
        UserError: It has one: a search.py, or another copy of this program.
    """
    found = PathFinder.find_spec("search", [str(Path.cwd())])
    if found and found.origin and not Path(found.origin).samefile(search.__file__):
        raise UserError(
            f"Ray's workers would import {found.origin} instead of this program ({Path(search.__file__).parent}): run "
            "the command in another folder"
        )
