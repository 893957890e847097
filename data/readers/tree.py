"""All files below a folder, by one walk: layouts are recognised, and patients found, from these names alone."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from data.errors import Problem
from data.readers.walk import walk


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The names of the files in a folder and below it, without hidden ones and what operating systems leave."""

    root: Path
    """Absolute."""

    folders: Mapping[PurePosixPath, tuple[str, ...]]
    """The sorted names of the files in each folder, by its path relative to the root; the root itself is `.`."""

    problems: tuple[Problem, ...] = ()
    """Folders that cannot be listed."""

    def files(self, wanted: Callable[[str], bool]) -> Iterator[tuple[PurePosixPath, str]]:
        """Yield the folder and the name of each file with a wanted name."""
        for folder, names in self.folders.items():
            for name in names:
                if wanted(name):
                    yield folder, name


def read_tree(root: Path) -> Tree:
    """Return the files below a folder."""
    problems: list[Problem] = []
    top = root.absolute()
    folders = {
        PurePosixPath(folder.relative_to(top).as_posix()): tuple(names) for folder, _, names in walk(top, problems)
    }
    return Tree(root=top, folders=folders, problems=tuple(problems))


def suggest(path: Path) -> str:
    """Return " (such as FOLDER)" with the folder whose path is most like one that does not exist; "" if none is."""
    missing = path.absolute()
    while not missing.parent.is_dir():
        missing = missing.parent
    try:
        folders = {one.name.lower(): one.name for one in missing.parent.iterdir() if one.is_dir()}
    except OSError:
        return ""
    if not (found := get_close_matches(missing.name.lower(), folders, n=1)):
        return ""
    beside = missing.parent / folders[found[0]]
    whole = beside / path.absolute().relative_to(missing)
    return f" (such as {whole if whole.is_dir() else beside})"
