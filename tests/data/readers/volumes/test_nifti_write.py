"""A mask is written as NIfTI on the grid of its image."""

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension

from data.errors import BadFiles, DataError
from data.readers.volumes.formats.nifti import write_nifti
from data.readers.volumes.patient import VolumePatient
from tests.support.nifti import LABELS, ORIENTATIONS, SLICES, as_nifti, patient_of, write_case


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_write_mask_inverts_read(tmp_path, codes, suffix):
    patient = patient_of(write_case(tmp_path, codes=codes))
    written = tmp_path / f"mask{suffix}"
    write_nifti(written, patient.read().masks, patient.segmentation)
    original, mask = map(nibabel.Nifti1Image.from_filename, (patient.segmentation, written))
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(original.dataobj) > 0)
    np.testing.assert_array_equal(mask.affine, original.affine)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(VolumePatient(**{**vars(patient), "segmentation": written}).read().masks, LABELS > 0)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [written.name]


def test_write_mask_keeps_form_and_drops_window_scaling_and_extensions(tmp_path):
    image = as_nifti(SLICES, "LPS", image=nibabel.Nifti2Image)
    like = nibabel.Nifti2Image(np.asarray(image.dataobj)[..., None], image.affine)
    like.set_qform(image.affine, 1)
    like.header["cal_max"] = 500
    like.header.extensions.append(Nifti1Extension("comment", b"private" * 20))
    like.header.set_slope_inter(2, 5)
    like.to_filename(tmp_path / "like.nii.gz")
    write_nifti(tmp_path / "m.nii.gz", LABELS > 0, tmp_path / "like.nii.gz")
    mask = nibabel.load(tmp_path / "m.nii.gz")
    assert isinstance(mask, nibabel.Nifti2Image)
    assert mask.shape == (6, 5, 4, 1)
    assert mask.get_fdata().sum() == np.count_nonzero(LABELS)
    assert (int(mask.header["qform_code"]), float(mask.header["cal_max"])) == (1, 0.0)
    assert mask.header.get_zooms()[:3] == (1.0, 2.0, 3.0)
    assert len(mask.header.extensions) == 0


def test_write_mask_writes_the_same_bytes_again(tmp_path):
    like = write_case(tmp_path) / "A_t1.nii.gz"
    write_nifti(tmp_path / "a.nii.gz", LABELS > 0, like)
    write_nifti(tmp_path / "b.nii.gz", LABELS > 0, like)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_write_mask_refuses_an_illegal_path_or_mask(tmp_path):
    like = write_case(tmp_path) / "A_t1.nii.gz"
    with pytest.raises(DataError, match=r"m\.png must end in \.nii or \.nii\.gz"):
        write_nifti(tmp_path / "m.png", LABELS > 0, like)
    with pytest.raises(DataError, match=r"the mask is 3 x 5 x 6, but the slices of .*A_t1\.nii\.gz are 4 x 5 x 6"):
        write_nifti(tmp_path / "m.nii", LABELS[:3] > 0, like)
    like.write_bytes(b"")
    with pytest.raises(BadFiles, match="is empty"):
        write_nifti(tmp_path / "m.nii", LABELS > 0, like)


def test_write_mask_leaves_the_old_file_if_it_fails(tmp_path, monkeypatch):
    like = write_case(tmp_path) / "A_t1.nii.gz"
    written = tmp_path / "m.nii"
    write_nifti(written, LABELS > 0, like)
    before = written.read_bytes()

    def fail(path, target):
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_nifti(written, LABELS == 4, like)
    assert written.read_bytes() == before
    assert not (tmp_path / "m.nii.partial").exists()
