"""Where a result comes from: the command, the commit and the versions of packages."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "ray", "optuna", "albumentations", "numpy", "opencv-python-headless", "onnxruntime", "wandb")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What must be known to repeat a run."""

    command: tuple[str, ...]
    commit: str | None
    """Followed by `+` if files differed from the commit; None outside a checkout."""

    python: str | None = None
    platform: str | None = None
    versions: Mapping[str, str]
    """Versions by package."""


def provenance() -> Provenance:
    """Return the provenance of this process's results."""
    return Provenance(
        command=(Path(sys.argv[0]).name, *sys.argv[1:]),
        commit=commit(),
        python=platform.python_version(),
        platform=platform.platform(),
        versions={package: version(package) for package in PACKAGES},
    )


def commit() -> str | None:
    """Return the commit of the program's own checkout, followed by `+` if files differ; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # an installed copy may lie inside somebody else's repository
        return None
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):  # no git here, or not a repository it trusts
        return None
    return found.stdout.strip()
