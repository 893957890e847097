"""Rows: they are read as they were written, and a full disk is reported."""

import pickle
import tempfile

import numpy as np
import pytest

from data.errors import DataError
from data.packing.rows import Rows


def test_rows_hold_what_was_appended_and_outlive_their_context():
    parts = [np.arange(12).reshape(2, 2, 3), np.arange(6).reshape(1, 2, 3) * 7, np.zeros((0, 2, 3), int)]
    with Rows() as rows:
        for part in parts:
            rows.append(part[:, ::-1])
        found = rows.array()
    np.testing.assert_array_equal(found, np.concatenate(parts)[:, ::-1])
    assert not found.flags.writeable


def test_rows_are_pickled_without_a_copy():
    with Rows() as rows:
        rows.append(np.arange(1000, dtype=np.uint8))
        found = rows.array()
    buffers = []
    pickle.dumps(found, protocol=5, buffer_callback=buffers.append)
    assert np.shares_memory(np.frombuffer(buffers[0], np.uint8), found)


def test_rows_report_a_full_disk(tmp_path, monkeypatch):
    def full():
        return open("/dev/full", "r+b", buffering=0)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with Rows() as rows, pytest.raises(DataError, match=r"can be written .*No space left.*TMPDIR"):
        rows.append(np.zeros(10, np.uint8))
