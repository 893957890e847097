"""The cohort: read from any layout, split by patient, with no test patient where a trial could see it."""

import json
import logging
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from data.errors import BadFiles, DataError
from data.packing import cache
from data.packing.pack import pack_patients
from data.preprocess import Preprocessing
from data.source import ReadingOptions
from data.splitting.options import SplitOptions
from data.splitting.split import Member, Split, split_patients
from search import cohort as cohort_module
from search.cohort import read_cohort
from search.config import SearchConfig
from tests.support.sources import (
    ALL,
    MODALITIES,
    NUMBERS,
    PATIENTS,
    SIDE,
    assert_slices,
    image_of,
    mask_of,
    slices_of,
    write_brats,
    write_folder,
    write_lgg,
    write_nifti,
    write_tiff,
)

WRITERS = {"lgg": write_lgg, "folder": write_folder, "nifti": write_brats}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A folder for cached packs, outside the user's home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tumour-search" / "packs"


@pytest.fixture
def decoded(monkeypatch):
    """The ids of the patients that were decoded, a list each time that any are."""
    calls = []

    def counted(patients, preprocessing, **options):
        calls.append([patient.id for patient in patients])
        return pack_patients(patients, preprocessing, **options)

    monkeypatch.setattr(cohort_module, "pack_patients", counted)
    return calls


MEMBERS = [Member(id=patient, person=patient) for patient in PATIENTS]  # whose tumours are of one size


def config_of(tmp_path, layout="lgg", *, cache=False, seed=0, preprocessing=None, **reading):
    source = tmp_path / layout
    if not source.exists():
        WRITERS[layout](source)
    return SearchConfig(
        data=str(source),
        out=tmp_path / "runs",
        cache=cache,
        seed=seed,
        reading=ReadingOptions(**reading),
        preprocessing=preprocessing or Preprocessing(size=SIDE),
    )


@pytest.mark.parametrize("layout", WRITERS)
def test_a_cohort_of_any_layout_holds_every_slice_on_its_side(tmp_path, layout):
    cohort = read_cohort(config_of(tmp_path, layout))
    assert cohort.format == layout
    assert cohort.skipped == ()
    assert_slices(cohort, ALL)
    assert cohort.split == split_patients(MEMBERS, seed=0)
    sides = {side: getattr(cohort.split, side) for side in ("train", "val", "test")}
    expected = {side: 3 * len(ids) for side, ids in sides.items()}
    assert cohort.num_slices == cohort.num_tumour_slices == expected
    assert (cohort.train_pack.patient_ids, cohort.val_pack.patient_ids) == (sides["train"], sides["val"])
    assert [patient.id for patient in cohort.val_patients] == list(sides["val"])
    assert [patient.id for patient in cohort.test_patients] == list(sides["test"])


@pytest.mark.parametrize("seed", range(4))
def test_the_packs_hold_no_slice_of_a_test_patient(tmp_path, seed):
    cohort = read_cohort(config_of(tmp_path, seed=seed))
    packs = (cohort.train_pack, cohort.val_pack)
    sides = [set(cohort.train_pack.patient_ids), set(cohort.val_pack.patient_ids), set(cohort.split.test)]
    assert set.union(*sides) == set(PATIENTS)
    assert sum(map(len, sides)) == len(PATIENTS)
    for patient in cohort.split.test:
        for number in NUMBERS:
            assert not any((pack.images == image_of(patient, number)).all(axis=(1, 2, 3)).any() for pack in packs)
    for pack in packs:
        for array in (pack.images, pack.masks):
            assert len(pickle.dumps(array)) < array.nbytes + 1000, "the other patients would go where trials run"
            assert array.base is not None
            assert array.base.nbytes == array.nbytes, "the file behind it holds other patients"


def test_all_layouts_of_the_same_slices_are_one_data_set(tmp_path):
    cohorts = [read_cohort(config_of(tmp_path, layout)) for layout in WRITERS]
    assert len({cohort.fingerprint for cohort in cohorts}) == 1
    assert len({cohort.split for cohort in cohorts}) == 1
    for cohort in cohorts[1:]:
        np.testing.assert_array_equal(cohort.train_pack.mean, cohorts[0].train_pack.mean)


def test_the_fingerprint_is_of_the_pixels_and_of_the_preprocessing(tmp_path):
    first = read_cohort(config_of(tmp_path))
    assert read_cohort(config_of(tmp_path, seed=1)).fingerprint == first.fingerprint
    other = Preprocessing(size=SIDE, normalisation="unit")
    assert read_cohort(config_of(tmp_path, preprocessing=other)).fingerprint != first.fingerprint
    tifffile.imwrite(tmp_path / "lgg/P0/P0_1_mask.tif", mask_of("P0", 2))
    assert read_cohort(config_of(tmp_path)).fingerprint != first.fingerprint


def test_a_region_that_nobody_has_is_refused_and_labels_of_no_region_are_said(tmp_path, capsys):
    with pytest.raises(
        DataError, match=r"^none of the \d patients of side 'train' has a voxel of region ET \(labels 4\)"
    ):
        read_cohort(config_of(tmp_path, "nifti", regions=("WT=3", "ET=4")))
    write_nifti(tmp_path / "nifti/P0/P0_seg.nii.gz", np.stack([mask_of("P0", number) // 51 for number in NUMBERS]))
    read_cohort(config_of(tmp_path, "nifti", regions=("WT=3", "TC=3")))
    assert "label(s) 5 of segmentations are in no region, and count as no tumour" in capsys.readouterr().err


def test_a_recorded_split_by_patient_is_kept_with_a_warning(tmp_path, capsys):
    split = read_cohort(config_of(tmp_path)).split
    assert read_cohort(config_of(tmp_path), recorded=split).split == split
    assert "visits on several sides" not in capsys.readouterr().err
    assert read_cohort(config_of(tmp_path, patient_pattern="(P)"), recorded=split).split == split
    assert "1 person(s) have visits on several sides of this experiment's split (P)" in capsys.readouterr().err


def test_options_reach_the_pack(tmp_path):
    context = Preprocessing(size=SIDE, context_slices=1)
    cohort = read_cohort(config_of(tmp_path, channels=("post", "pre"), preprocessing=context))
    assert cohort.train_pack.num_channels == 6
    first = cohort.train_pack.patient_ids[0]
    np.testing.assert_array_equal(cohort.train_pack.images[0], image_of(first, 1)[..., [2, 0]])


def test_modalities_and_labels_reach_the_pack(tmp_path):
    cohort = read_cohort(config_of(tmp_path, "nifti", modalities=("t2",), labels=(3, 7)))
    first = cohort.train_pack.patient_ids[0]
    np.testing.assert_array_equal(cohort.train_pack.images[0], image_of(first, 1)[..., 2:])
    np.testing.assert_array_equal(cohort.train_pack.masks[0], mask_of(first, 1) > 0)  # written as label 3
    with pytest.raises(DataError, match="none of the 3 patients of side 'train' has a tumour"):
        read_cohort(config_of(tmp_path, "nifti", modalities=("t2",), labels=(7,)))


def test_warnings_are_printed_to_stderr(tmp_path, capsys):
    read_cohort(config_of(tmp_path, "nifti"))
    captured = capsys.readouterr()
    sentence = "--modalities is not given; the channels are those that every case has: flair, t1, t2"
    assert [line for line in captured.err.splitlines() if line.startswith("note: ")] == [f"note: {sentence}"]
    assert captured.out == ""
    read_cohort(config_of(tmp_path, "nifti", modalities=MODALITIES))
    assert "note: " not in capsys.readouterr().err


def test_files_that_scan_or_decoding_skipped_are_recorded_together(tmp_path):
    config = config_of(tmp_path, skip_bad_files=True)
    source = tmp_path / "lgg"
    (source / "P0" / "P0_1_mask.tif").unlink()
    (source / "P3" / "P3_2.tif").write_bytes(b"")
    cohort = read_cohort(config)
    assert [str(problem.path.relative_to(source)) for problem in cohort.skipped] == ["P0/P0_1.tif", "P3/P3_2.tif"]
    assert [problem.reason.split(" (")[0] for problem in cohort.skipped] == ["has no mask", "is empty"]
    assert_slices(cohort, ALL - {("P0", 1), ("P3", 2)})


def test_skipping_leaves_a_sound_source_as_it_is(tmp_path, decoded):
    plain, skipping = (read_cohort(config_of(tmp_path, skip_bad_files=skip)) for skip in (False, True))
    assert skipping.fingerprint == plain.fingerprint
    assert skipping.skipped == ()
    assert decoded == [list(PATIENTS)] * 2


def test_patients_that_are_skipped_are_not_split(tmp_path):
    config = config_of(tmp_path, "nifti", skip_bad_files=True)
    (tmp_path / "nifti" / "P2" / "P2_t1.nii.gz").write_bytes(b"")
    cohort = read_cohort(config)
    assert cohort.split == split_patients([member for member in MEMBERS if member.id != "P2"], seed=0)
    assert "P2" not in {patient.id for patient in (*cohort.val_patients, *cohort.test_patients)}


@pytest.mark.parametrize("layout", WRITERS)
def test_the_cache_is_used_the_second_time(tmp_path, own_cache, decoded, layout):
    first, second = (read_cohort(config_of(tmp_path, layout, cache=True)) for _ in range(2))
    assert decoded == [list(PATIENTS)]
    assert len(list(own_cache.iterdir())) == 1
    assert first.fingerprint == second.fingerprint
    for key, (image, mask) in slices_of(first).items():
        np.testing.assert_array_equal(slices_of(second)[key][0], image)
        np.testing.assert_array_equal(slices_of(second)[key][1], mask)
    np.testing.assert_array_equal(first.val_pack.std, second.val_pack.std)


def test_the_cache_is_shared_by_seeds_and_not_by_preprocessings(tmp_path, own_cache, decoded):
    read_cohort(config_of(tmp_path, cache=True))
    read_cohort(config_of(tmp_path, cache=True, seed=3))
    assert len(decoded) == 1
    read_cohort(config_of(tmp_path, cache=True, preprocessing=Preprocessing(size=SIDE, crop="head")))
    assert len(decoded) == 2
    assert len(list(own_cache.iterdir())) == 2


def test_the_cache_is_left_alone_unless_it_is_asked_for(tmp_path, own_cache, decoded):
    for _ in range(2):
        read_cohort(config_of(tmp_path, cache=False))
    assert len(decoded) == 2
    assert not own_cache.exists()


def test_a_file_that_breaks_after_it_was_cached_is_seen(tmp_path, own_cache):
    read_cohort(config_of(tmp_path, cache=True))
    (tmp_path / "lgg" / "P1" / "P1_2.tif").write_bytes(b"")
    with pytest.raises(BadFiles, match=r"P1_2.tif: is empty"):
        read_cohort(config_of(tmp_path, cache=True))
    cohort = read_cohort(config_of(tmp_path, cache=True, skip_bad_files=True))
    assert_slices(cohort, ALL - {("P1", 2)})
    assert len(list(own_cache.iterdir())) == 2


def test_a_cached_cohort_has_no_test_patient_in_its_packs_either(tmp_path):
    for _ in range(2):
        cohort = read_cohort(config_of(tmp_path, cache=True))
        for pack in (cohort.train_pack, cohort.val_pack):
            assert not set(pack.patient_ids) & set(cohort.split.test)
            assert type(pack.images) is np.ndarray, "a map of the whole pack would let a trial see all of it"


def test_a_damaged_cache_is_made_anew_with_a_warning(tmp_path, own_cache, decoded, caplog):
    first = read_cohort(config_of(tmp_path, cache=True))
    (pack,) = own_cache.iterdir()
    content = bytearray((pack / "images.npy").read_bytes())
    content[-1] ^= 1
    (pack / "images.npy").write_bytes(content)
    with caplog.at_level(logging.WARNING, logger=cache.__name__):
        second = read_cohort(config_of(tmp_path, cache=True))
    assert "is damaged" in caplog.text
    assert len(decoded) == 2
    assert second.fingerprint == first.fingerprint
    assert_slices(second, ALL)


def copy_patient(source, old, new, noise=0):
    """Write the patient `old` again as `new`, with grey levels that differ by up to `noise`."""
    (source / new).mkdir()
    for number in NUMBERS:
        image = image_of(old, number).astype(int)
        image += np.random.default_rng(number).integers(-noise, noise + 1, image.shape)
        write_tiff(source / new / f"{new}_{number}.tif", image.clip(0, 255).astype(np.uint8))
        write_tiff(source / new / f"{new}_{number}_mask.tif", mask_of(old, number))


def test_visits_of_a_person_are_on_one_side(tmp_path, capsys):
    for seed in range(8):
        config = config_of(tmp_path / str(seed), seed=seed)
        for patient in PATIENTS:
            copy_patient(Path(config.data), patient, f"{patient}_visit_2", noise=9)
        cohort = read_cohort(config)
        for ids in (cohort.split.train, cohort.split.val, cohort.split.test):
            assert {patient.removesuffix("_visit_2") for patient in ids} & set(PATIENTS) <= set(ids)
        assert len(cohort.split.ids) == 10
    notes = capsys.readouterr().err
    assert "10 of 10 patients are visits of 5 persons, such as P0, P0_visit_2" in notes
    assert "look alike" not in notes


def test_copies_on_two_sides_are_named(tmp_path, capsys):
    config = config_of(tmp_path)
    copy_patient(Path(config.data), "P3", "Q", noise=9)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["P0", "P3", "P4"], "val": ["P1"], "test": ["P2", "Q"]}))
    read_cohort(replace(config, splitting=SplitOptions(split=str(tmp_path / "split.json"))))
    assert re.search(
        r"note: 1 pair\(s\) of patients on different sides of the split look alike: P3 \(train\) and Q \(test\), "
        r"correlation 0\.99\d\. If they are one person",
        capsys.readouterr().err,
    )


def test_a_pattern_says_who_is_one_person(tmp_path):
    config = config_of(tmp_path, patient_pattern="^(P[0-2]|P)")
    cohort = read_cohort(config)
    assert {patient.id: patient.person for patient in (*cohort.train_patients, *cohort.val_patients)}.items() <= {
        ("P0", "P0"),
        ("P1", "P1"),
        ("P2", "P2"),
        ("P3", "P"),
        ("P4", "P"),
    }
    assert any({"P3", "P4"} <= set(ids) for ids in (cohort.split.train, cohort.split.val, cohort.split.test))


def test_a_split_from_a_file_wins(tmp_path):
    config = config_of(tmp_path)
    (tmp_path / "split.csv").write_text("id,split\nP4,test\nP3,val\n")
    cohort = read_cohort(replace(config, splitting=SplitOptions(split=str(tmp_path / "split.csv"))))
    assert cohort.split == Split(train=("P0", "P1", "P2"), val=("P3",), test=("P4",))


def test_a_recorded_split_is_kept_and_other_patients_are_refused(tmp_path):
    recorded = Split(train=("P4", "P3", "P2"), val=("P1",), test=("P0",))
    config = config_of(tmp_path)
    assert read_cohort(config, recorded=recorded).split == recorded
    copy_patient(Path(config.data), "P3", "Q", noise=99)
    with pytest.raises(DataError, match=r"are not those that .* began with: 1 are new \(Q\); put the old ones back"):
        read_cohort(config, recorded=recorded)
    shutil.rmtree(Path(config.data) / "P0")
    with pytest.raises(DataError, match=r"began with: 1 are missing \(P0\) and 1 are new \(Q\)"):
        read_cohort(config, recorded=recorded)
