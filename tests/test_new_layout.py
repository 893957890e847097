"""A new layout needs one row in the table of readers; search, prediction and service then work with it."""

import io
from pathlib import Path

import numpy as np
import pytest

import model.predict.__main__ as predict
import search.tune
from data.errors import UserError
from data.patient import Scan, SliceFiles, SlicePatient
from data.preprocess import Preprocessing
from data.readers.images import stack_slices
from data.readers.reader import FileKind, LayoutOptions, Reader
from data.readers.table import READERS
from data.readers.tree import Tree
from data.source import ReadingOptions, find_source
from search.cohort import read_cohort
from search.config import SearchConfig
from search.record.trials import State, read_rows
from tests.support.hand_model import write_model_of
from tests.support.service import post, post_form, serving

# --- the layout: slices as <PATIENT>/<PATIENT>_<NUMBER>.arr, each beside its <PATIENT>_<NUMBER>_mask.arr ---


def read_slice(files: SliceFiles) -> tuple[np.ndarray, np.ndarray]:
    assert files.mask is not None
    return np.load(files.image), np.load(files.mask)


def save(path: Path, array: np.ndarray) -> Path:
    """Write an array to exactly this path, where NumPy would add .npy."""
    with path.open("wb") as file:
        np.save(file, array)
    return path


def scan(tree: Tree, options: LayoutOptions) -> Scan:
    masks = {folder.name: sorted(folder.glob("*_mask.arr")) for folder in sorted(tree.root.iterdir())}
    slices = {
        name: [
            SliceFiles(number=k, image=Path(str(path).replace("_mask", "")), mask=path) for k, path in enumerate(paths)
        ]
        for name, paths in masks.items()
    }
    return Scan(
        patients=tuple(SlicePatient(id=name, slices=tuple(own), read_slice=read_slice) for name, own in slices.items())
    )


def write_mask(stem: Path, mask: np.ndarray, image: Path) -> Path:
    return save(Path(f"{stem}.arr"), mask)


ARR = FileKind(
    name="arr",
    noun="NumPy",
    suffixes={".arr": "application/octet-stream"},
    holds="slice",
    layout="expected a folder of <PATIENT>_<NUMBER>.arr",
    read=lambda paths, options: (stack_slices(paths, np.load), None),
    write_mask=write_mask,
    count_values=lambda path: np.load(path, mmap_mode="r").size,
)
ROW = Reader(
    scan=scan,
    recognise=lambda tree: "arrays lie beside masks" if next(tree.files(lambda name: "_mask.arr" in name), ()) else "",
    files=ARR,
    description="slices as NumPy files",
)

# --- what follows from it ---


@pytest.fixture(autouse=True)
def _row(monkeypatch):
    monkeypatch.setitem(READERS, "arr", ROW)


@pytest.fixture
def source(tmp_path) -> Path:
    """Six patients with three slices of two channels, in which the tumour is bright."""
    rng = np.random.default_rng(0)
    for patient in range(6):
        folder = tmp_path / "patients" / f"P{patient}"
        folder.mkdir(parents=True)
        for number in range(3):
            image = rng.integers(0, 100, (64, 64, 2), dtype=np.uint8)
            mask = np.zeros((64, 64), bool)
            mask[8:16, 4 + patient : 12] = True
            image[mask] += 120
            save(folder / f"P{patient}_{number}.arr", image)
            save(folder / f"P{patient}_{number}_mask.arr", mask)
    return tmp_path / "patients"


@pytest.mark.ray
@pytest.mark.slow  # what a search does with the slices that a reader returns does not depend on the reader
def test_layout_of_one_row_is_searched(source, tmp_path, capsys):
    options = ("--size", "64", "--width", "2", "--trials", "2", "--max-epochs", "1", "--tracking", "off", "--no-cache")
    search.tune.main(["smoke", "--data", str(source), "--out", str(tmp_path / "runs"), "--name", "arr", *options])
    printed = capsys.readouterr().out
    assert f"{source}(arr)" in "".join(printed.split())  # a long path is folded
    folder = tmp_path / "runs" / "arr"
    assert {row.state for row in read_rows(folder / "trials.jsonl")} == {State.COMPLETE}
    assert "6 patients (slices as NumPy files)" in (folder / "best" / "card.md").read_text()
    assert predict.main([str(folder / "best"), str(source), "--out", str(tmp_path / "masks")]) == 0


def test_layout_of_one_row_gives_a_cohort(source, tmp_path):
    config = SearchConfig(data=str(source), out=tmp_path, cache=False, preprocessing=Preprocessing(size=64))
    cohort = read_cohort(config)
    assert (cohort.format, cohort.channel_names, sum(cohort.num_slices.values())) == ("arr", ("0", "1"), 18)
    assert cohort.num_tumour_slices == cohort.num_slices


def test_layout_of_one_row_is_predicted_and_served(source, tmp_path):
    model = write_model_of(
        tmp_path / "model.onnx", preprocessing=Preprocessing(size=64), channel_names=("0", "1"), data_format="arr"
    )
    out = tmp_path / "masks"
    predict.main([str(model), str(source), "--out", str(out)])
    assert len(list(out.glob("P*/P*_[0-9]_mask.arr"))) == 18
    mask = np.load(out / "P0" / "P0_1_mask.arr")
    assert (mask.shape, mask.dtype) == ((64, 64), bool)
    assert len(list(out.glob("P*/*_overlay.png"))) == 18

    with serving(model, tmp_path) as port:
        reply = post(port, "P0_1.arr", (source / "P0" / "P0_1.arr").read_bytes())
        assert reply.status == 200, reply
        assert np.load(io.BytesIO(reply.body)).shape == (64, 64)
        assert post(port, "scan.png", b"no image").status == 422


def test_layout_of_one_row_is_recognised_and_can_be_named(source, tmp_path):
    for reading in (ReadingOptions(), ReadingOptions(data_format="arr")):
        found = find_source(str(source), reading=reading, phantom_root=tmp_path)
        assert (found.format, len(found.patients), found.name_channels(2)) == ("arr", 6, ("0", "1"))
    with pytest.raises(UserError, match="--labels is for nifti, dicom, folder and lgg, but the data is arr"):
        find_source(str(source), reading=ReadingOptions(labels=(1,)), phantom_root=tmp_path)


# --- a layout whose files are channels of whole volumes ---

RAW = FileKind(
    name="raw",
    noun="raw",
    suffixes={".raw": "application/octet-stream"},
    holds="channel",
    layout="expected <CASE>/<CASE>_<CHANNEL>.raw",
    read=lambda paths, options: (
        np.stack([np.fromfile(path, np.uint8).reshape(3, 8, 8) for path in paths], axis=-1),
        (2.0, 1.0, 1.0),
    ),
    write_mask=lambda stem, mask, image: write_raw(Path(f"{stem}.raw"), mask),
    count_values=lambda path: path.stat().st_size,
)


def write_raw(path: Path, volume: np.ndarray) -> Path:
    path.write_bytes(volume.astype(np.uint8).tobytes())
    return path


def test_layout_of_channel_files_is_predicted_and_served(tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, "raw", Reader(scan=scan, files=RAW, description="raw volumes"))
    model = write_model_of(
        tmp_path / "model.onnx", preprocessing=Preprocessing(size=8), channel_names=("t1", "t2"), data_format="raw"
    )
    (tmp_path / "in" / "C").mkdir(parents=True)
    volume = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    files = [write_raw(tmp_path / "in" / "C" / f"C_{name}.raw", volume // k) for k, name in enumerate(("t1", "t2"), 1)]

    predict.main([str(model), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--no-overlays"])
    mask = np.fromfile(tmp_path / "out" / "C" / "C_mask.raw", np.uint8).reshape(3, 8, 8)
    assert 0 < mask.sum() < mask.size
    with serving(model, tmp_path) as port:
        reply = post_form(port, *((path.stem, path.name, path.read_bytes()) for path in files))
        assert reply.status == 200, reply
        assert len(reply.body) == mask.size
        assert reply.headers["X-Tumour-Ml"] == f"{2 * int(reply.headers['X-Tumour-Pixels']) / 1000:g}"


# --- a layout whose files are whole volumes ---

VOLUME = FileKind(
    name="volume",
    noun="volume",
    suffixes={".vol": "application/octet-stream"},
    holds="volume",
    layout="expected <CASE>.vol",
    read=lambda paths, options: (np.fromfile(paths[0], np.uint8).reshape(3, 8, 8, 2), None),
    write_mask=lambda stem, mask, image: write_raw(Path(f"{stem}.vol"), mask),
    count_values=lambda path: path.stat().st_size,
)


def test_layout_of_whole_volumes_is_predicted_and_served(tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, "volume", Reader(scan=scan, files=VOLUME, description="whole volumes"))
    model = write_model_of(
        tmp_path / "model.onnx", preprocessing=Preprocessing(size=8), channel_names=("t1", "t2"), data_format="volume"
    )
    (tmp_path / "in").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 2), dtype=np.uint8)
    files = [write_raw(tmp_path / "in" / f"C{number}.vol", one) for number, one in enumerate(images)]
    write_raw(tmp_path / "in" / "C0_seg.vol", images[0])  # a mask, which is not predicted

    for name, sources in (("folder", [tmp_path / "in"]), ("files", files)):
        assert predict.main([str(model), *map(str, sources), "--out", str(tmp_path / name)]) == 0
    masks = sorted((tmp_path / "folder").rglob("*_mask.vol"))
    assert [path.name for path in masks] == ["C0_mask.vol", "C1_mask.vol"]
    volumes = [np.fromfile(path, np.uint8).reshape(3, 8, 8) for path in masks]
    assert all(0 < mask.sum() < mask.size for mask in volumes)
    shown = {path.name for path in (tmp_path / "folder").rglob("*_overlay.png")}
    assert shown == {
        f"C{k}_{number}_overlay.png"
        for k, mask in enumerate(volumes)
        for number, one in enumerate(mask, start=1)
        if one.any()
    }
    for path in masks:
        [same] = (tmp_path / "files").rglob(path.name)
        assert same.read_bytes() == path.read_bytes()

    with serving(model, tmp_path) as port:
        reply = post(port, "C0.vol", files[0].read_bytes())
        assert (reply.status, reply.body) == (200, masks[0].read_bytes())
        assert post(port, "C0.vol", files[0].read_bytes(), output="overlay").status == 200
        reply = post_form(port, *((path.stem, path.name, path.read_bytes()) for path in files))
        assert reply.status == 400
        assert b"has 2 volume files, but each is a whole volume; send one" in reply.body
