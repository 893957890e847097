"""The manifest lists every file of a folder with its hash, and names every file that has changed."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model import manifest as module
from model.manifest import FileEntry, ModelProvenance, main, read_manifest, verify_manifest, write_manifest
from model.settings import ModelError
from tests.support.faults import assert_fault

PROVENANCE = ModelProvenance(commit="c0ffee", versions={"torch": "1.2.3"}, trial="t001")


@pytest.fixture
def folder(tmp_path) -> Path:
    best = tmp_path / "best"
    (best / "overlays").mkdir(parents=True)
    (best / "model.onnx").write_bytes(b"model")
    (best / "overlays" / "best.png").write_bytes(b"")
    write_manifest(best, PROVENANCE)
    return best


def test_manifest_lists_every_file_and_the_provenance(folder):
    written = json.loads((folder / "manifest.json").read_text())
    assert PROVENANCE.known().items() <= written.items()
    assert written["format"] == 1
    assert written["files"] == {
        "model.onnx": {"sha256": hashlib.sha256(b"model").hexdigest(), "bytes": 5},
        "overlays/best.png": {"sha256": hashlib.sha256(b"").hexdigest(), "bytes": 0},
    }
    manifest = verify_manifest(folder)
    assert manifest.provenance == PROVENANCE
    assert manifest.files["model.onnx"] == FileEntry(sha256=hashlib.sha256(b"model").hexdigest(), num_bytes=5)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.onnx", "overlays"]


def test_manifest_can_be_written_again(folder):
    (folder / "card.md").write_text("new")
    write_manifest(folder, ModelProvenance(commit=None))
    manifest = verify_manifest(folder)
    assert manifest.provenance.commit is None
    assert "card.md" in manifest.files


def test_failed_write_of_a_manifest_keeps_the_older_one(folder):
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_manifest(folder, ModelProvenance(test_dice=float("nan")))
    assert (folder / "manifest.json").read_bytes() == before
    verify_manifest(folder)


def test_verify_names_every_file_that_has_changed(folder):
    (folder / "model.onnx").write_bytes(b"medol")
    (folder / "overlays" / "best.png").unlink()
    (folder / "overlays" / "worst.png").write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        verify_manifest(folder)
    assert str(caught.value) == (
        f"{folder} is not as it was written: overlays/best.png is missing; overlays/worst.png is not in the manifest; "
        "model.onnx has different content. Copy the folder again, or export it again"
    )
    (folder / "model.onnx").write_bytes(b"mod")
    with pytest.raises(ModelError, match=r"model\.onnx has 3 bytes, but had 5"):
        verify_manifest(folder)


def test_verify_reads_no_file_outside_the_folder(folder):
    content = json.loads((folder / "manifest.json").read_text())
    for name in ("../secret", "/etc/hostname"):
        content["files"][name] = {"sha256": "0", "bytes": 0}
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"\.\./secret is missing; /etc/hostname is missing"):
        verify_manifest(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a manifest, but must be a JSON object"),
        ("[1]", "is not a manifest, but must be a JSON object"),
        (5000 * "[", "is not a manifest, but must be a JSON object"),
        ('{"format": 2, "files": {}}', "has format 2, but this version reads format 1"),
        ("{}", "has format None, but this version reads format 1"),
        ('{"format": 1}', "has no files"),
        ('{"format": 1, "files": {"model.onnx": "abc"}}', "has no files"),
        ('{"format": 1, "files": {"model.onnx": {"sha256": "abc", "bytes": "5"}}}', "has no files"),
        ('{"format": 1, "files": {}, "trial": ["t001"]}', "has trial .*t001.*, but must have text"),
        ('{"format": 1, "files": {}, "test_dice": "high"}', "has test_dice .high., but must have a number"),
        (
            '{"format": 1, "files": {}, "versions": {"torch": 2}}',
            "has versions .*, but must have a JSON object of texts",
        ),
    ],
)
def test_damaged_or_foreign_manifest_is_refused(folder, text, message):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match=message):
        verify_manifest(folder)


def test_manifest_too_large_for_memory_is_not_read(folder):
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate(1 << 40)  # of holes
    with pytest.raises(ModelError, match="has 1099511627776 bytes, but a manifest has at most 16777216"):
        verify_manifest(folder)


def test_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"manifest\.json does not exist; name the folder of an exported model"):
        verify_manifest(tmp_path)


def test_command_says_whether_the_folder_is_unchanged(folder, capsys):
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: 2 file(s), all as they were written\n"
    (folder / "model.onnx").write_bytes(b"")
    assert main([str(folder)]) == 2
    assert "error: " in capsys.readouterr().err


def test_manifest_of_an_earlier_version_is_read_without_its_unknown_facts(folder):
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(content | {"unknown": 1}))
    assert read_manifest(folder).provenance == PROVENANCE


def test_verify_names_a_file_that_cannot_be_read(folder, capsys, monkeypatch):
    def fail(_: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, "sha256", fail)
    assert main([str(folder)]) == 2
    assert "model.onnx cannot be read (Input/output error)" in capsys.readouterr().err


def test_fault_of_the_command_keeps_its_traceback(folder, capsys, monkeypatch):
    def fail(_: Path) -> str:
        raise ValueError("planted")

    monkeypatch.setattr(module, "sha256", fail)
    assert_fault(capsys, main, [str(folder)])


def test_manifest_needs_no_torch():
    root = Path(__file__).parents[2]
    code = "import sys, model.manifest; sys.exit(bool({'torch', 'onnxruntime'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(root)})
