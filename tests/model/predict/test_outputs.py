"""The files that a prediction writes: complete patients only, and none of them out of date."""

import hashlib
import json
import os
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from data.preprocess import Preprocessing
from tests.model.predict.test_inputs import write_case
from tests.support.hand_model import write_model_of
from tests.support.predict_command import failure, run, table


def files(out: Path) -> dict[str, int]:
    """Return when each file was written."""
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def written(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """Return the patients whose files are new."""
    return {Path(name).parts[0] for name in after if before.get(name) != after[name]} - {"volumes.csv"}


def test_run_continues_where_another_ended(model, source, tmp_path, capsys):
    out = tmp_path / "out"
    run(model, source / "B", out=out)
    (out / ".C.partial").mkdir()  # of a run that was killed
    (out / ".C.partial" / "C_1_mask.tif").write_bytes(b"half")
    before = files(out)
    run(model, source, out=out)
    assert written(before, files(out)) == {"A", "C"}
    assert [row["patient"] for row in table(out)] == ["A", "B", "C"]
    assert "1 patient(s) were there already, from the same model and input" in capsys.readouterr().out
    assert not (out / ".C.partial").exists()
    one = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    run(model, source, out=tmp_path / "other")
    for path, content in one.items():
        assert (tmp_path / "other" / path.relative_to(out)).read_bytes() == content


def change_input(source, out):
    path = source / "B" / "B_1.tif"
    path.write_bytes((source / "A" / "A_1.tif").read_bytes())


def change_output(source, out):
    (out / "B" / "B_1_mask.tif").write_bytes((out / "A" / "A_1_mask.tif").read_bytes())


def remove_output(source, out):
    (out / "B" / "B_10_overlay.png").unlink()


def cut_record(source, out):
    (out / "B" / "prediction.json").write_bytes((out / "B" / "prediction.json").read_bytes()[:100])


def remove_row(source, out):
    record = json.loads((out / "B" / "prediction.json").read_text())
    (out / "B" / "prediction.json").write_text(json.dumps({name: record[name] for name in record if name != "row"}))


def forge_record(source, out):
    record = json.loads((out / "B" / "prediction.json").read_text())
    record["files"] = {"../A/A_1_mask.tif": ""}
    (out / "B" / "prediction.json").write_text(json.dumps(record))


def remove_slice(source, out):
    for ending in (".tif", "_mask.tif"):
        (source / "B" / f"B_10{ending}").unlink()


@pytest.mark.parametrize(
    "change",
    [change_input, change_output, remove_output, cut_record, remove_row, forge_record, remove_slice],
    ids=lambda change: change.__name__,
)
def test_run_replaces_every_output_that_is_out_of_date(model, source, tmp_path, change):
    out = tmp_path / "out"
    run(model, source, out=out)
    change(source, out)
    before = files(out)
    run(model, source, out=out)
    assert written(before, files(out)) == {"B"}
    run(model, source, out=tmp_path / "fresh")
    fresh = {name: (tmp_path / "fresh" / name).read_bytes() for name in files(tmp_path / "fresh")}
    assert {name: (out / name).read_bytes() for name in files(out)} == fresh


def test_run_reads_a_record_from_before_there_was_a_format(model, source, tmp_path):
    out = tmp_path / "out"
    run(model, source, out=out)
    record = json.loads((out / "B" / "prediction.json").read_text())
    assert record.pop("format") == 1
    (out / "B" / "prediction.json").write_text(json.dumps(record))
    before = files(out)
    run(model, source, out=out)
    assert written(before, files(out)) == set()


def test_run_refuses_a_record_of_an_unknown_format(model, source, tmp_path, capsys):
    out = tmp_path / "out"
    run(model, source, out=out)
    record = json.loads((out / "B" / "prediction.json").read_text()) | {"format": 2}
    (out / "B" / "prediction.json").write_text(json.dumps(record))
    before = files(out)
    said = failure(capsys, model, source, out=out)
    assert "B/prediction.json has format 2, but this version reads format 1; choose another --out" in said
    assert "1 of 3 patient(s) could not be predicted (B)" in said
    assert written(before, files(out)) == set()


def test_run_with_another_model_or_option_writes_everything_again(model, source, tmp_path):
    out = tmp_path / "out"
    run(model, source, out=out)
    before = files(out)
    run(model, source, "--no-overlays", out=out)
    assert not list(out.rglob("*.png"))
    assert written(before, files(out)) == {"A", "B", "C"}
    before = files(out)
    run(write_model_of(tmp_path / "other.onnx", threshold=0.6), source, "--no-overlays", out=out)
    assert written(before, files(out)) == {"A", "B", "C"}


def test_run_recognises_a_model_by_its_content(model, source, tmp_path):
    out = tmp_path / "out"
    run(model, source, out=out)
    before = files(out)
    record = json.loads((out / "A" / "prediction.json").read_text())
    assert record["made_from"]["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    run(model.rename(tmp_path / "renamed.onnx"), source, out=out)
    assert written(before, files(out)) == set()


def test_run_skips_a_damaged_patient_and_reports_it(model, source, tmp_path, capsys):
    damaged = source / "B" / "B_2.tif"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:300])
    said = failure(capsys, model, source, out=tmp_path / "out")
    assert "B_2.tif: is truncated" in said
    assert "error: 1 of 3 patient(s) could not be predicted (B): see above; the others are finished" in said
    assert [row["patient"] for row in table(tmp_path / "out")] == ["A", "C"]
    assert not (tmp_path / "out" / "B").exists()
    damaged.write_bytes(whole)
    run(model, source, out=tmp_path / "out")
    assert [row["patient"] for row in table(tmp_path / "out")] == ["A", "B", "C"]


def test_run_refuses_an_image_of_gigapixels_by_its_header(model, tmp_path, capsys):
    head = struct.pack("<2sHI", b"II", 42, 8)
    entries = [(256, 4, 100_000), (257, 4, 50_000), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (279, 4, 1)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    path = tmp_path / "large.tif"
    path.write_bytes(head + struct.pack("<H", len(entries)) + body + bytes(4))
    said = failure(capsys, model, path, out=tmp_path / "out")
    assert "large.tif: is 50000 x 100000, but 1 to 16384 pixels a side are legal" in said
    assert not (tmp_path / "out").exists()


def test_run_refuses_a_folder_that_it_cannot_write(model, source, tmp_path, capsys):
    (tmp_path / "file").touch()
    said = failure(capsys, model, source, out=tmp_path / "file" / "out")
    assert f"cannot be written: {tmp_path / 'file'} is a file; choose another folder" in said
    if os.geteuid():  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        assert "is not writable" in failure(capsys, model, source, out=tmp_path / "locked")


def test_run_refuses_to_overwrite_what_it_did_not_write(model, source, tmp_path, capsys):
    (tmp_path / "out" / "B").mkdir(parents=True)
    (tmp_path / "out" / "B" / "B_1_mask.tif").write_bytes(b"drawn by hand")
    assert "would overwrite masks or other files in" in failure(capsys, model, source, out=tmp_path / "out")
    assert files(tmp_path / "out").keys() == {"B/B_1_mask.tif"}


def test_masks_among_several_inputs_are_skipped(model, source, tmp_path, capsys):
    run(model, *sorted((source / "A").iterdir()), source / "B", out=tmp_path / "out")
    assert [row["patient"] for row in table(tmp_path / "out")] == ["A_1", "A_10", "A_2", "B"]
    said = capsys.readouterr().out
    assert "note: 3 file(s) are named as masks or overlays, and are skipped" in said
    assert "note: 3 volume(s) have only one slice (A_1.tif)" in said


@pytest.mark.parametrize("inputs", [(), ("-", "x")])
def test_illegal_inputs_are_named(model, tmp_path, capsys, inputs):
    said = failure(capsys, model, *inputs, out=tmp_path / "out")
    assert "INPUT must be files and folders, at least one, or - (standard input) alone" in said


def test_illegal_pattern_is_named(model, source, tmp_path, capsys):
    said = failure(capsys, model, source, "--patient-pattern", "(", out=tmp_path / "out")
    assert 'patient_pattern "(" is not a regular expression' in said


def test_nifti_masks_have_the_geometry_of_their_volumes(tmp_path):
    settings = {"channel_names": ("t1ce", "flair"), "data_format": "nifti", "preprocessing": Preprocessing(size=8)}
    model = write_model_of(tmp_path / "model.onnx", **settings)
    folder = write_case(tmp_path / "in", "A", "t1ce", shape=(8, 8, 3))
    values = np.zeros((8, 8, 3), np.float32)  # of axes: to the right, to the front, up
    values[1:7, 1:7], values[2:4, 5, 1] = 10, 90
    affine = np.array([[2.0, 0, 0, -7], [0, 2, 0, 5], [0, 0, 3, 1], [0, 0, 0, 1]])
    for name, content in (("t1ce", values * 0 + 1), ("flair", values)):
        nibabel.save(nibabel.Nifti1Image(content, affine), folder / f"A_{name}.nii.gz")
    run(model, tmp_path / "in", out=tmp_path / "out")
    mask = nibabel.Nifti1Image.from_filename(tmp_path / "out" / "A" / "A_mask.nii.gz")
    np.testing.assert_array_equal(mask.affine, affine)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(mask.dataobj), values > 50)
    [row] = table(tmp_path / "out")
    assert (row["slices"], row["slices_with_tumour"], row["tumour_pixels"]) == ("3", "1", "2")
    assert float(row["tumour_ml"]) == 0.024  # 2 voxels of 2 x 2 x 3 mm
    assert [path.name for path in (tmp_path / "out" / "A").glob("*.png")] == ["A_2_overlay.png"]


def test_volume_in_ml_is_empty_without_a_pixel_size(model, source, tmp_path):
    run(model, source / "A", out=tmp_path / "out")
    assert table(tmp_path / "out")[0]["tumour_ml"] == ""
