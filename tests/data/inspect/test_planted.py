"""Every kind of finding is found where it was planted, and nothing else."""

import re

import numpy as np
import pytest

from tests.support.inspected import KINDS, Case, inspect, write


def spoil_exact(cases):
    cases["B"].images[3] = cases["A"].images[5]


def spoil_exact_within(cases):
    cases["B"].images[3] = cases["B"].images[5]


def spoil_near(cases):
    noise = np.random.default_rng(0).normal(0, 2, (128, 128, 3))
    cases["B"].images[4] = np.clip(0.8 * cases["A"].images[6] + noise, 0, 255).astype(np.uint8)


def spoil_outside(cases):
    cases["B"].masks[5] = np.zeros((128, 128), bool)
    cases["B"].masks[5][:10, :3] = True


def spoil_black(cases):
    for index in (0, 11):
        cases["B"].images[index], cases["B"].masks[index] = (
            np.zeros((128, 128, 3), np.uint8),
            np.zeros((128, 128), bool),
        )


def spoil_black_channel(cases):
    cases["B"].images[0] = cases["B"].images[0] * np.array([1, 0, 1], np.uint8)


def spoil_tumour(cases):
    cases["B"].masks = [np.zeros_like(mask) for mask in cases["B"].masks]


def spoil_numbers(cases):
    cases["B"].numbers = [1, 2, 4, 5, 6, 7, 8, 12, 13, 14, 15, 999_999_999]


def spoil_constant(cases):
    def change(image):
        image[..., 2] = 7
        return image

    cases["B"].all_images(change)


def spoil_copy(cases):
    cases["B"].all_images(lambda image: image[..., [0, 1, 0]])


def spoil_single(cases):
    cases["B"].keep([int(np.argmax([mask.sum() for mask in cases["B"].masks]))])


def spoil_size(cases):
    cases["B"].all_images(lambda image: image[:, :120])
    cases["B"].masks = [mask[:, :120] for mask in cases["B"].masks]


def spoil_type(cases):
    cases["B"].all_images(lambda image: image.astype(np.uint16) * 257)


def spoil_channels(cases):
    cases["B"].all_images(lambda image: image[..., 1])


SPOILT = {
    "same pixels": (spoil_exact, "A", "1 slice as in B, such as number 6 and its number 4"),
    "same pixels ": (spoil_exact_within, "B", "1 slice as in itself, such as number 4 and its number 6"),
    "look alike": (
        spoil_near,
        "A",
        r"1 slice as in B, such as number 7 and its number 5, correlation (1\.000|0\.99\d)",
    ),
    "mask outside the head": (spoil_outside, "B", r"30 of 30 tumour pixels lie outside the head in 1 slice \(6\)"),
    "blank slices": (spoil_black, "B", "2 of 12 slices have one value everywhere"),
    "slices with a blank channel": (spoil_black_channel, "B", "flair has one value everywhere in 1 slice"),
    "no tumour": (spoil_tumour, "B", "no mask of this patient has a tumour pixel"),
    "gap in slice numbers": (spoil_numbers, "B", r"999999987 slice numbers missing: 3, 9-11, 16-999999998"),
    "constant channel": (spoil_constant, "B", "post is 7 everywhere"),
    "identical channels": (spoil_copy, "B", "post is a copy of pre"),
    "single slice": (spoil_single, "B", "the patient has one slice only"),
    "sizes differ (information)": (spoil_size, "B", "2 patients with 128 x 128; 1 patient with 128 x 120"),
    "pixel types differ": (spoil_type, "B", "2 patients with uint8; 1 patient with uint16"),
    "numbers of channels differ": (spoil_channels, "B", "2 patients with 3 channels; 1 patient with 1 channel"),
}


def test_every_kind_of_finding_is_tested_here():
    assert {kind.strip() for kind in SPOILT} | {"unusable file"} == set(KINDS)


@pytest.mark.parametrize("kind", SPOILT)
def test_inspect_finds_what_was_planted_and_nothing_else(tmp_path, capsys, kind):
    spoil, where, text = SPOILT[kind]
    cases = {name: Case(k) for k, name in enumerate("ABC", 1)}
    spoil(cases)
    write(tmp_path, cases)
    found, out = inspect(capsys, tmp_path)
    assert [(kind, where) for kind, where, _ in found] == [(kind.strip(), where)]
    assert re.fullmatch(text, found[0][2])
    assert "1 finding(s):" in out
