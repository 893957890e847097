"""An environment in which packages that are installed cannot be imported."""

import os
from collections.abc import Sequence
from pathlib import Path


def environment_without(packages: Sequence[str], folder: Path) -> dict[str, str]:
    """Return the environment of processes that cannot import some packages; a file in the folder sees to it."""
    blocker = (
        "import sys\n"
        "class Blocked:\n"
        f"    names = {packages!r}\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in self.names:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
    )
    (folder / "sitecustomize.py").write_text(blocker)
    return os.environ | {"PYTHONPATH": str(folder)}
