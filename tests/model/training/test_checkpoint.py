"""Checkpoints are written whole or not at all, are read strictly, and are never executed."""

import io
import pickle
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from data.atomic import write
from model.training.checkpoint import CheckpointError, load_checkpoint
from tests.support.fakes import constant_state


class Malicious:
    """What an attacker would pickle: unpickling it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def torch_bytes(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_state_restored_is_the_state_that_was_saved():
    saved, other = constant_state(1.5), constant_state(-2.0)
    saved.history.append({"epoch": 1, "val_dice": 0.5})
    other.restore(saved.to_bytes())
    assert other.epoch == 1
    assert other.history == saved.history
    for name, weight in saved.network.state_dict().items():
        assert torch.equal(other.network.state_dict()[name], weight)


@pytest.mark.parametrize(("scale", "expected"), [(None, 4.0), (8.0, 8.0)], ids=["trained without", "trained with"])
def test_training_goes_on_at_a_precision_whose_gradients_are_scaled(scale, expected):
    saved, other = constant_state(1.5), constant_state(-2.0)
    if scale:
        saved.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    other.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    other.restore(saved.to_bytes())
    assert other.scaler.get_scale() == expected


def test_training_goes_on_at_a_precision_whose_gradients_are_not_scaled():
    saved, other = constant_state(1.5), constant_state(-2.0)
    saved.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    other.restore(saved.to_bytes())
    assert other.scaler.get_scale() == 1.0


def test_checkpoint_from_before_networks_had_a_view_is_resumed():
    saved = constant_state(1.5, in_channels=9, packed_context=1)
    content = torch.load(io.BytesIO(saved.to_bytes()), weights_only=True)
    for name in ("packed_context", "context_slices", "downscale"):
        del content["network_config"][name]
    other = constant_state(-2.0, in_channels=9, packed_context=1)
    other.restore(torch_bytes(content))
    assert torch.equal(next(other.network.parameters()), next(saved.network.parameters()))


def test_load_checkpoint_gives_the_network_ready_to_evaluate(tmp_path):
    state = constant_state(1.5, depth=2)
    write(tmp_path / "checkpoint.pt", state.to_bytes())
    network = load_checkpoint(tmp_path / "checkpoint.pt")[0]
    assert not network.training
    assert network.config == state.network.config
    assert torch.equal(network(torch.rand(1, 3, 8, 8)), torch.full((1, 1, 8, 8), 1.5))


def test_load_checkpoint_gives_the_epochs(tmp_path):
    state = constant_state(0.0)
    state.history += [{"epoch": 1, "val_dice": 0.25}, {"epoch": 2, "val_dice": 0.5}]
    write(tmp_path / "checkpoint.pt", state.to_bytes())
    assert load_checkpoint(tmp_path / "checkpoint.pt")[1] == state.history


def test_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.with_name("checkpoint.pt.partial").write_bytes(b"of a writer that was killed, longer than what follows")
    for content in (b"first", b"second"):
        write(path, content)
        assert path.read_bytes() == content
        assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_write_that_fails_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "checkpoint.pt"
    write(path, b"old")
    path.with_name("checkpoint.pt.partial").mkdir()  # nothing can be written there
    with pytest.raises(IsADirectoryError):
        write(path, b"new")
    assert path.read_bytes() == b"old"


def test_write_leaves_no_partial_file_on_a_full_disk(tmp_path):
    path = tmp_path / "checkpoint.pt"
    write(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # a disk that is full after 100 bytes
    try:
        with pytest.raises(OSError, match="File too large"):
            write(path, bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"checkpoint.pt": b"old"}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_checkpoint_that_is_cut_off_is_refused(tmp_path, share):
    path, content = tmp_path / "checkpoint.pt", constant_state(0.0).to_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=rf"{path} cannot be read as a checkpoint: "):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", "checkpoint cannot be read as a checkpoint: "),
        (pickle.dumps({"format": 1}), "checkpoint "),
        (torch_bytes([1, 2]), "checkpoint has checkpoint format 'list', but this version reads 1, 2 and 3"),
        (torch_bytes({"weights": 1}), "checkpoint has checkpoint format None, but this version reads 1, 2 and 3"),
        (torch_bytes({"format": 4}), "checkpoint has checkpoint format 4, but this version reads 1, 2 and 3"),
    ],
    ids=["text", "pickle", "list", "foreign", "newer"],
)
def test_restore_refuses_foreign_bytes(content, message):
    with pytest.raises(CheckpointError) as caught:
        constant_state(0.0).restore(content)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("format", [1, 2])
def test_checkpoints_from_before_architectures_had_names_are_read(tmp_path, format):
    saved, other = constant_state(1.5, depth=2), constant_state(0.0, depth=2)
    saved.history.append({"epoch": 1, "val_dice": 0.5})
    state = torch.load(io.BytesIO(saved.to_bytes()), weights_only=True) | {"format": format}
    state["unet"] = state.pop("network_config")
    assert state["unet"].pop("architecture") == "unet"
    if format == 1:
        del state["under_way"]
    other.restore(torch_bytes(state))
    assert other.history == saved.history
    write(tmp_path / "checkpoint.pt", torch_bytes(state))
    for network in (other.network, load_checkpoint(tmp_path / "checkpoint.pt")[0]):
        assert network.config == saved.network.config
        assert all(
            torch.equal(one, two) for one, two in zip(network.parameters(), saved.network.parameters(), strict=True)
        )


def test_checkpoint_of_an_unknown_architecture_is_refused(tmp_path):
    state = torch.load(io.BytesIO(constant_state(0.0).to_bytes()), weights_only=True)
    state["network_config"]["architecture"] = "vgg"
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(torch_bytes(state))
    with pytest.raises(CheckpointError, match=f"{path}: architecture is 'vgg', but must be one of unet"):
        load_checkpoint(path)


def test_restore_refuses_the_state_of_another_network():
    with pytest.raises(CheckpointError, match=r"checkpoint is of .*depth=2.*this training is of .*depth=1"):
        constant_state(0.0, depth=1).restore(constant_state(0.0, depth=2).to_bytes())


@pytest.mark.parametrize("dump", [pickle.dumps, torch_bytes])
def test_checkpoint_with_code_in_it_is_refused_and_not_executed(tmp_path, dump):
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "executed"
    path.write_bytes(dump({"format": 1, "network": Malicious(trace)}))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Malicious(trace)))  # the trap itself works
    assert trace.exists()


def written(path: Path, **changes) -> Path:
    """Write a checkpoint in which some parts are others; None leaves a part out."""
    state = torch.load(io.BytesIO(constant_state(1.5).to_bytes()), weights_only=True) | changes
    path.write_bytes(torch_bytes({name: part for name, part in state.items() if part is not None}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": [3] * 1000}, "has checkpoint format "),
        ({"network": None}, "its network is of type NoneType, but must be dict"),
        ({"optimizer": [1]}, "its optimizer is of type list, but must be dict"),
        ({"history": [{"epoch": "1"}]}, "its history must hold numbers by name for each epoch"),
        ({"network_config": None}, "it does not describe its network"),
        ({"network_config": {1: 2}}, "it does not describe its network"),
        ({"network_config": {"depth": torch.zeros(3)}}, "it does not describe its network"),
        ({"network_config": {"depth": 9}}, "depth is 9, but must be from 1 to 7"),
        ({"network_config": {"depth": 7, "width": 256}}, "tensors are missing"),  # it would take 32 GB
        ({"network": {"head.weight": 1.0}}, "its network holds something else than whole tensors"),
        ({"network": {"head.weight": torch.zeros(1).expand(10**12)}}, "something else than whole tensors"),
        ({"network": {"head.weight": torch.eye(2).to_sparse()}}, "something else than whole tensors"),
        ({"network": {"head.weight": torch.zeros(1)}}, "tensors are missing"),
    ],
)
def test_checkpoint_that_is_not_what_it_says_is_refused_by_its_name(tmp_path, changes, message):
    path = written(tmp_path / "checkpoint.pt", **changes)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": {}}, {"schedule": {}}, {"under_way": {"more": 1}}, {"optimizer": {"state": {}, "param_groups": []}}],
)
def test_checkpoint_that_does_not_continue_a_training_is_refused(tmp_path, changes):
    content = written(tmp_path / "checkpoint.pt", **changes).read_bytes()
    with pytest.raises(CheckpointError, match="checkpoint is damaged: it does not continue a training"):
        constant_state(0.0).restore(content)


def test_weight_that_has_changed_on_the_disk_is_noticed(tmp_path):
    path, content = tmp_path / "checkpoint.pt", bytearray(constant_state(1.5).to_bytes())
    at = content.index(np.float32(1.5).tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"cannot be read as a checkpoint: .*has changed since it was written"):
        load_checkpoint(path)


def test_checkpoint_that_is_compressed_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    with (
        zipfile.ZipFile(io.BytesIO(constant_state(1.5).to_bytes())) as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in plain.namelist():
            packed.writestr(part, plain.read(part))
    with pytest.raises(CheckpointError, match="in it is compressed, but a checkpoint is not"):
        load_checkpoint(path)
