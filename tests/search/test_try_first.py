"""Samples that a search tries first: what the file of `--try` may hold."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from search.config import SearchConfig
from search.record.experiment_record import WarmStart
from search.warm_start import gather
from tests.support.warm_starts import SAMPLE, refusal


def trying(folder: Path, content: str, **options: Any) -> SearchConfig:
    """Return the config of a search that begins with a --try file."""
    (folder / "first.json").write_text(content)
    return SearchConfig(
        out=folder, name="new", try_first=folder / "first.json", **{"begin_with_default": False, **options}
    )


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [{}],
        [SAMPLE],
        [{"learning_rate": 0.001}, {"depth": 5, "dropout": 0}],
        [{"learning_rate": 1e-4, "bce_weight": 1}, {"learning_rate": 1e-2, "dropout": 0.5}],
    ],
)
def test_gather_reads_samples_to_try(tmp_path, samples):
    assert gather(trying(tmp_path, json.dumps(samples))) == WarmStart(first=tuple(samples))


def test_gather_tries_the_default_before_anything_else(tmp_path):
    default = {"learning_rate": 0.001, "depth": 4, "dropout": 0.1, "bce_weight": 0.5}
    assert gather(SearchConfig(out=tmp_path, name="new")) == WarmStart(first=(default,))
    assert gather(trying(tmp_path, json.dumps([SAMPLE]), begin_with_default=True)).first == (default, SAMPLE)


def test_gather_reads_samples_of_the_wide_space(tmp_path):
    samples = [{"norm": "batch", "width": 24, "batch_size": 8}, {"augment": 2.0}]
    assert gather(trying(tmp_path, json.dumps(samples), space="wide")).first == tuple(samples)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([{"rate": 0.1}], "sample 1: 'rate' is not an axis; legal are learning_rate, depth, dropout, bce_weight"),
        ([{}, {"width": 16}], "sample 2: 'width' is not an axis; legal are learning_rate, depth, dropout, bce_weight"),
        ([{"learning_rate": 0.1}], "sample 1: learning_rate is 0.1, but must be 0.0001 to 0.01, log"),
        ([SAMPLE, {"depth": 6}], "sample 2: depth is 6, but must be 2 to 5"),
        ([{"depth": 2.5}], "sample 1: depth is 2.5, but must be "),
        ([{"depth": None}], "sample 1: depth is None, but must be "),
        ([{"dropout": "high"}], "sample 1: dropout is 'high', but must be "),
        ([{"dropout": [0.1]}], "sample 1: dropout is [0.1], but must be "),
        ([{"dropout": math.nan}], "sample 1: dropout is nan, but must be "),
    ],
)
def test_gather_refuses_samples_to_try_that_do_not_lie_in_the_space(tmp_path, samples, message):
    assert refusal(trying(tmp_path, json.dumps(samples))).startswith(f"--try {tmp_path / 'first.json'}, {message}")


@pytest.mark.parametrize("sample", [{"norm": "layer"}, {"width": 12}, {"norm": ["batch"]}, {"batch_size": "8"}])
def test_gather_refuses_choices_that_are_none(tmp_path, sample):
    [name] = sample
    assert f"sample 1: {name} is {sample[name]!r}, but must be " in refusal(
        trying(tmp_path, json.dumps([sample]), space="wide")
    )


@pytest.mark.parametrize(
    ("sample", "kind"),
    [({"learning_rate": "0.001"}, float), ({"depth": "3"}, int), ({"depth": 3.0}, int)],
)
def test_gather_refuses_or_converts_values_of_another_kind(tmp_path, sample, kind):
    """Else a depth of 3.0 or a learning rate of "0.001" would fail in training, far from the file that has it."""
    try:
        known = gather(trying(tmp_path, json.dumps([sample])))
    except UserError as error:
        assert str(error).startswith(f"--try {tmp_path / 'first.json'}, sample 1: ")  # noqa: PT017
        return
    [value] = known.first[0].values()
    assert type(value) is kind


@pytest.mark.parametrize("content", ['{"learning_rate": 0.001}', "[0.001]", '[{"depth": 3}, 4]', "null", '"depth"'])
def test_gather_refuses_a_file_that_is_no_list_of_objects(tmp_path, content):
    assert refusal(trying(tmp_path, content)) == (
        f'--try {tmp_path / "first.json"} must hold a list of objects, such as [{{"learning_rate": 0.001, "depth": 4}}]'
    )


@pytest.mark.parametrize("content", ["", "[{", "depth: 3", "[{'depth': 3}]"])
def test_gather_refuses_a_file_that_is_not_json(tmp_path, content):
    assert refusal(trying(tmp_path, content)).startswith(f"--try {tmp_path / 'first.json'} cannot be read as JSON: ")


def test_gather_refuses_a_file_that_cannot_be_read(tmp_path):
    binary = trying(tmp_path, "")
    assert binary.try_first is not None
    binary.try_first.write_bytes(b"\xff\xfe\x00")
    folder = SearchConfig(out=tmp_path, name="new", try_first=tmp_path)
    gone = SearchConfig(out=tmp_path, name="new", try_first=tmp_path / "gone.json")
    for config in (folder, gone, binary):
        assert refusal(config).startswith(f"--try {config.try_first} cannot be read as JSON: ")
