"""Scan a folder with one reader, whatever layout it looks like."""

from pathlib import Path
from typing import Any

from data.patient import Scan, SlicePatient
from data.readers import folder, lgg
from data.readers.reader import LayoutOptions
from data.readers.tree import read_tree


def scan_lgg(source: Path, **options: Any) -> Scan[SlicePatient]:
    return lgg.scan(read_tree(source), LayoutOptions(**options))


def scan_folder(source: Path, **options: Any) -> Scan[SlicePatient]:
    return folder.scan(read_tree(source), LayoutOptions(**options))
