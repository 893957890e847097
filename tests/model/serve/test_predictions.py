"""The service over real HTTP answers with the masks of `model.predict`."""

import base64
import gzip
import io
import json
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest

from data.preprocess import Preprocessing
from data.readers.volumes.formats.grid import to_grid
from data.readers.volumes.formats.table import read_volume_file
from model.inference.runtime import load_model
from model.inference.volume import predict_volume
from model.predict.__main__ import main as predict
from tests.support.fakes import write_lgg_patient
from tests.support.hand_model import flair_network
from tests.support.service import ask, decoded, encoded, image, nifti, post, post_form, serving, write_service_model


def slices_of(path):
    return to_grid(path, read_volume_file(path)).values


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "png"), (".jpg", "png"), (".tif", "tiff")])
def test_service_returns_the_bytes_that_predict_writes(port, model, tmp_path, suffix, kind):
    source = tmp_path / f"scan{suffix}"
    source.write_bytes(encoded(image(), suffix))
    assert predict([str(model), str(source), "--out", str(tmp_path / "out")]) == 0
    written = {path.name: path.read_bytes() for path in (tmp_path / "out" / "scan").iterdir()}
    reply = post(port, source.name, source.read_bytes())
    assert (reply.status, reply.headers["content-type"]) == (200, f"image/{kind}")
    name = reply.headers["content-disposition"].split('"')[1]
    assert reply.body == written[name]
    assert 0 < int(reply.headers["x-tumour-pixels"]) < 240
    assert "normalised by itself" in reply.headers["x-note"]
    assert post(port, source.name, source.read_bytes(), output="overlay").body == written["scan_overlay.png"]


def test_content_type_replaces_a_missing_file_name(port):
    content = encoded(image(), ".png")
    named = post(port, "scan.png", content)
    assert ask(port, "POST", "/predict", content, {"Content-Type": "image/png"}).body == named.body


def test_several_images_are_one_patient(port, model, tmp_path):
    source = write_lgg_patient(tmp_path, "A", height=20, width=12)
    assert predict([str(model), str(source), "--out", str(tmp_path / "out")]) == 0
    names = ("A_10.tif", "A_2.tif", "A_1.tif")
    reply = post_form(port, *(("files", name, (source / name).read_bytes()) for name in names))
    assert (reply.status, reply.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        assert archive.namelist() == ["A_1_mask.tif", "A_2_mask.tif", "A_10_mask.tif"]
        for name in archive.namelist():
            assert archive.read(name) == (tmp_path / "out" / "A" / name).read_bytes()
    assert "x-note" not in reply.headers


@pytest.mark.parametrize("by_field", [False, True])
def test_nifti_mask_has_the_geometry_of_its_volume(nifti_port, tmp_path, by_field):
    t1, flair = (nifti(tmp_path / f"C_{name}.nii.gz", seed) for seed, name in enumerate(("t1", "flair")))
    names = ("a.nii.gz", "b.nii.gz") if by_field else (flair.name, t1.name)
    fields = ("flair", "t1") if by_field else ("file0", "file1")
    contents = (flair.read_bytes(), t1.read_bytes())
    files = list(zip(fields, names, contents, strict=True))
    reply = post_form(nifti_port, *files)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/gzip")
    answer = nibabel.Nifti1Image.from_bytes(gzip.decompress(reply.body))
    np.testing.assert_array_equal(answer.affine, nibabel.Nifti1Image.from_filename(flair).affine)
    (tmp_path / "mask.nii.gz").write_bytes(reply.body)
    found = slices_of(tmp_path / "mask.nii.gz") > 0
    images = np.stack([slices_of(path) for path in (t1, flair)], axis=-1)
    expected = predict_volume(flair_network, images, Preprocessing(size=16)) >= 0.5
    np.testing.assert_array_equal(found, expected[0])
    assert float(reply.headers["x-tumour-ml"]) == pytest.approx(expected.sum() * 6 / 1000, abs=1e-4)


def test_json_answer_has_summary_mask_and_overlays(nifti_port, tmp_path):
    files = [
        (name, f"{name}.nii", nifti(tmp_path / f"{name}.nii", seed).read_bytes())
        for seed, name in enumerate(("t1", "flair"))
    ]
    answer = json.loads(post_form(nifti_port, *files, output="json").body)
    assert (answer["slices"], answer["height"], answer["width"]) == (5, 14, 12)
    assert answer["channels"] == {"t1": "t1.nii", "flair": "flair.nii"}
    assert answer["tumour_ml"] == pytest.approx(answer["tumour_pixels"] * 6 / 1000)
    assert answer["mask"]["name"] == "t1_mask.nii.gz"
    assert [one["name"] for one in answer["overlays"]] == [f"slice {n}" for n in range(1, 6)]
    assert sum(one["tumour_pixels"] for one in answer["overlays"]) == answer["tumour_pixels"]
    shown = decoded(base64.b64decode(answer["overlays"][0]["png"]))
    assert shown.shape == (28, 24, 3)
    panel = post_form(nifti_port, *files, output="overlay")
    assert decoded(panel.body).shape[2] == 3


def test_overlays_show_the_channel_that_predict_shows(nifti_port, tmp_path):
    model, case = write_service_model(tmp_path / "model.onnx", ("t1", "flair")), tmp_path / "C"
    case.mkdir()
    paths = [nifti(case / f"C_{name}.nii.gz", seed) for seed, name in enumerate(("t1", "flair"))]
    assert predict([str(model), str(case), "--out", str(tmp_path / "out")]) == 0
    files = [(path.name, path.name, path.read_bytes()) for path in paths]
    overlays = json.loads(post_form(nifti_port, *files, output="json").body)["overlays"]
    written = [tmp_path / "out" / "C" / f"C_{n}_overlay.png" for n in range(1, 6)]
    assert [base64.b64decode(one["png"]) for one in overlays] == [path.read_bytes() for path in written]
    panel = decoded(post_form(nifti_port, *files, output="overlay").body)
    fifth = decoded(written[4].read_bytes())  # below the other four, to the left
    assert (panel[-fifth.shape[0] :, : fifth.shape[1]] == fifth).all()


@pytest.mark.parametrize(
    ("names", "status", "message"),
    [
        (["x.nii", "y.nii"], 422, "the names do not say which file is which channel"),
        (["a_t1.nii", "b_t1.nii"], 422, "the names do not say which file is which channel"),
        (
            ["a_t1.nii"],
            422,
            "has 1 volume file.s., but the model takes 2 volume file.s., one for each of t1, flair",
        ),
        (["a_t1.nii", "a_t1.nii"], 400, "two files are called a_t1.nii; rename one"),
        (["a_t1.nii", "a_flair.png"], 400, r"the files are of several kinds \(image, volume\); send files of one kind"),
    ],
)
def test_service_never_guesses_the_channel_of_a_nifti_file(nifti_port, tmp_path, names, status, message):
    content = nifti(tmp_path / "one.nii", 0).read_bytes()
    reply = post_form(nifti_port, *((f"file{index}", name, content) for index, name in enumerate(names)))
    assert reply.status == status
    assert re.search(message, reply.error)


def test_service_takes_words_of_ones_own_for_channels(nifti_port, tmp_path):
    paths = {name: nifti(tmp_path / f"C_{name}.nii", seed) for seed, name in enumerate(("t1", "flair"))}
    contents = [path.read_bytes() for path in paths.values()]
    expected = post_form(nifti_port, ("a", "C_t1.nii", contents[0]), ("b", "C_flair.nii", contents[1]))
    own = (("a", "C_flair.nii", contents[1]), ("b", "C_pink.nii", contents[0]))
    assert post_form(nifti_port, *own).status == 422
    model = write_service_model(tmp_path / "model.onnx", ("t1", "flair"))
    with serving(model, tmp_path, "--modality", "T1=Pink") as port:
        reply = post_form(port, *own)
    assert (reply.status, expected.status) == (200, 200)
    assert gzip.decompress(reply.body) == gzip.decompress(expected.body)


def test_nifti_files_of_two_grids_are_refused(nifti_port, tmp_path):
    one, other = nifti(tmp_path / "a_t1.nii", 0), nifti(tmp_path / "a_flair.nii", 0, (12, 14, 6))
    reply = post_form(nifti_port, *((path.name, path.name, path.read_bytes()) for path in (one, other)))
    assert reply.status == 400
    assert "a_flair.nii: is 6 x 14 x 12 (slices, rows, columns), but a_t1.nii is 5 x 14 x 12" in reply.error


def test_concurrent_requests_each_get_their_own_answer(port, model):
    network, settings = load_model(model)
    images = [image(seed, height=10 + seed) for seed in range(24)]
    expected = [predict_volume(network, one[None], settings.preprocessing)[0, 0] >= 0.5 for one in images]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda one: post(port, "a.png", encoded(one, ".png")), images))
    for reply, mask in zip(replies, expected, strict=True):
        assert reply.status == 200
        found = decoded(reply.body)
        np.testing.assert_array_equal(found, mask * np.uint8(255))


def test_images_that_do_not_suit_the_model_are_refused(port):
    grey = post(port, "scan.png", encoded(image(channels=1), ".png"))
    assert (grey.status, grey.error) == (
        422,
        "scan.png has 1 channels, but the model takes 3 (pre, flair, post): predict images like those "
        "that it was trained on",
    )
    two = [("f", name, encoded(image(height=height), ".png")) for name, height in (("A_1.png", 9), ("A_2.png", 8))]
    assert "A_2.png: is 8 x 12 x 3 of uint8, but A_1.png" in post_form(port, *two).error
    unnumbered = [("f", name, encoded(image(), ".png")) for name in ("a.png", "b.png")]
    assert "a.png: the name is not <PATIENT>_<NUMBER>.png" in post_form(port, *unnumbered).error
    masked = [("f", name, encoded(image(), ".png")) for name in ("A_1.png", "A_1_mask.png")]
    assert "A_1_mask.png is named as a mask" in post_form(port, *masked).error
