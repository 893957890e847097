"""A folder of DICOM is predicted by its studies, and the masks are DICOM SEG that training could read again."""

import numpy as np

from data.preprocess import Preprocessing
from data.readers.dicom.reader import scan
from data.readers.reader import LayoutOptions
from data.readers.tree import read_tree
from tests.support.dicom import write_series
from tests.support.hand_model import write_model_of
from tests.support.nifti import SLICES
from tests.support.predict_command import failure, run, table

CHANNELS = {"channel_names": ("t1ce", "flair"), "preprocessing": Preprocessing(size=8)}


def write_study(root, patient, **options):
    write_series(root / patient / "1", "AX T1 POST", patient=patient, **options)
    write_series(root / patient / "2", "AX FLAIR", SLICES + np.int16(1000), number=2, patient=patient, **options)


def test_masks_of_studies_lie_on_their_series(tmp_path):
    for patient in ("P1", "P2"):
        write_study(tmp_path / "in", patient)
    for data_format in ("nifti", "dicom"):
        model = write_model_of(tmp_path / "model.onnx", data_format=data_format, **CHANNELS)
        run(model, tmp_path / "in", out=tmp_path / data_format)
        rows = table(tmp_path / data_format)
        assert [row["patient"] for row in rows] == ["P1", "P2"]
    mask = tmp_path / "dicom" / "P1" / "P1_mask.dcm"
    assert mask.exists()
    mask.rename(tmp_path / "in" / "P1" / "mask.dcm")
    (patient,) = scan(read_tree(tmp_path / "in" / "P1"), LayoutOptions()).patients
    assert int(patient.read().masks.sum()) == int(rows[0]["tumour_pixels"])


def test_studies_that_lack_a_channel_are_said(tmp_path, capsys):
    write_series(tmp_path / "in" / "P1", "AX T1 POST")
    model = write_model_of(tmp_path / "model.onnx", data_format="nifti", **CHANNELS)
    said = failure(capsys, model, tmp_path / "in", out=tmp_path / "out")
    assert 'case P1 has no flair, but ax-t1-post (series 1, "AX T1 POST", 6 x 5 x 4); add the series' in said
