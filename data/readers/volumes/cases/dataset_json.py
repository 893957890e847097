"""`dataset.json` of the Medical Segmentation Decathlon and of nnU-Net: the names of channels."""

import json
from pathlib import PurePosixPath
from typing import Any

from data.readers.tree import Tree

NAME = "dataset.json"
MAX_BYTES = 2**26
MAX_CHANNELS = 64


def channel_names(tree: Tree) -> dict[PurePosixPath, tuple[str, ...]]:
    """Return the names of the channels, in order and in lower case, by the folder of each readable dataset.json; empty
    for a channel that has none."""
    found = {}
    for folder, name in tree.files(lambda name: name == NAME):
        if names := _names(tree, folder / name):
            found[folder] = names
    return found


def _names(tree: Tree, path: PurePosixPath) -> tuple[str, ...]:
    try:
        file = tree.root / path
        content = json.loads(file.read_bytes()) if file.stat().st_size <= MAX_BYTES else {}
        channels: Any = content.get("channel_names") or content.get("modality") or {}
        if not all(str(number).isdigit() for number in channels):
            channels = {number: name for name, number in channels.items()}  # nnU-Net has had it both ways
        by_number = {int(key): str(name).lower() for key, name in channels.items()}
        if len(set(by_number.values())) < len(by_number):  # nnU-Net names kinds of normalisation there, too
            return ()
        first = 0 if 0 in by_number else min(by_number, default=0)
        last = max(by_number, default=-1)
        return tuple(by_number.get(number, "") for number in range(first, last + 1)) if last < MAX_CHANNELS else ()
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return ()  # names are a help, and the volumes may be fine without it
