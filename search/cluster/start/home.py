"""What Ray and the libraries of workers keep in the user's home folder, on a machine where that cannot be.

A container often runs as a user who has no entry among the system's users, and a home folder that is `/` or read-only.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path

from data.machine.private_folder import can_write, private_folder
from data.machine.user import find_home, home_problem

CACHES = {
    "TRITON_CACHE_DIR": ".triton/cache",
    "HF_HOME": ".cache/huggingface",
    "TORCH_HOME": ".cache/torch",
    "MPLCONFIGDIR": ".config/matplotlib",
    "WANDB_CONFIG_DIR": ".config/wandb",
}
"""Folders that libraries make in the home folder, by the environment variable that names another place."""

TOKEN_FILE = ".ray/auth_token"


def home_variables(environment: Mapping[str, str], *, starts_ray: bool) -> dict[str, str]:
    """Return the environment variables without which a library fails that wants to write to the home folder, by name.

    They are none on a machine where it can. A user without a name or a home has both already (`provide_user`). What is
    in the home folder is used, even if it is read-only.

    Args:
        environment: The environment variables of this process, which prevail.
        starts_ray: Whether a Ray is to be started, which needs a token.

    Raises:
        UserError: There is no folder in which one may write.
    """
    home = find_home()
    if home is None or not (home.is_dir() or can_write(home)):
        return {"HOME": str(private_folder(home_problem(home)))}
    found = {} if environment.get("HOME") else {"HOME": str(home)}
    found |= _folder_variables(home, starts_ray=starts_ray)
    return {name: value for name, value in found.items() if not environment.get(name)}


def _folder_variables(home: Path, *, starts_ray: bool) -> dict[str, str]:
    """Return other places for what libraries cannot write in the home folder."""
    wanted = {name: home / path for name, path in CACHES.items()}
    elsewhere = [name for name, folder in wanted.items() if not folder.exists() and not can_write(folder)]
    found = {}
    if elsewhere:
        own = private_folder(home_problem(home))
        found = {name: str(own / CACHES[name]) for name in elsewhere}
    if starts_ray and not (home / TOKEN_FILE).exists() and not can_write(home / TOKEN_FILE):
        found["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # otherwise Ray writes one into the home folder
    return found
