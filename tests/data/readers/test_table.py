"""The table of readers: what a row must say, and what follows from all rows together."""

from dataclasses import fields
from pathlib import Path

import pytest

from data.errors import DataError
from data.readers.images import IMAGES
from data.readers.reader import LayoutOptions
from data.readers.table import READERS, data_formats, file_kinds, kind_of_file
from data.readers.volumes.formats.table import VOLUMES


def test_names_that_experiments_and_models_recorded_are_still_in_the_table():
    assert {"lgg", "folder", "nifti", "phantom"} <= READERS.keys()


def test_data_formats_are_the_rows_that_can_be_recognised():
    assert data_formats() == ("auto", *(name for name, reader in READERS.items() if reader.recognise))


@pytest.mark.parametrize("name", READERS)
def test_reader_takes_only_options_that_exist(name):
    assert set(READERS[name].options) <= {field.name for field in fields(LayoutOptions)}


@pytest.mark.parametrize("name", READERS)
def test_reader_finds_a_folder_or_generates_one(name):
    assert (READERS[name].recognise is None) == (READERS[name].generate is not None)


def test_file_kinds_share_no_suffix_and_no_name():
    kinds = file_kinds()
    assert [kind for kind in kinds if kind in (VOLUMES, IMAGES)] == [VOLUMES, IMAGES]
    suffixes = [suffix for kind in kinds for suffix in kind.suffixes]
    assert len(set(suffixes)) == len(suffixes)


@pytest.mark.parametrize(
    ("name", "kind", "stem", "media_type"),
    [
        ("a.b.TIFF", IMAGES, "a.b", "image/tiff"),
        ("a.jpg", IMAGES, "a", "image/jpeg"),
        ("a.nii", VOLUMES, "a", "application/x-nifti"),
        ("a_t1.NII.gz", VOLUMES, "a_t1", "application/gzip"),
    ],
)
def test_kind_of_file_is_told_by_its_suffix(name, kind, stem, media_type):
    assert kind_of_file(name) == kind
    assert kind.stem_of(name) == stem
    assert kind.media_type_of(name) == media_type


@pytest.mark.parametrize("name", ["a", "a.gz", "a.npy", "tif", ""])
def test_kind_of_file_is_none_for_other_suffixes(name):
    assert kind_of_file(name) is None
    assert (IMAGES.suffix_of(name), IMAGES.stem_of(name)) == ("", Path(name).stem)


def test_channel_indices_are_by_name_or_by_number():
    assert READERS["phantom"].channel_indices(("post", "pre")) == (2, 0)
    assert READERS["folder"].channel_indices(("2", "0")) == (2, 0)
    assert READERS["lgg"].channel_indices(()) == ()
    with pytest.raises(DataError, match="--channels is t1, but the channels of this layout are pre, flair, post"):
        READERS["lgg"].channel_indices(("t1",))
    with pytest.raises(DataError, match="--channels is ², but the channels of this layout are numbers from 0"):
        READERS["folder"].channel_indices(("²",))
