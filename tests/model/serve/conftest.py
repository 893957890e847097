"""Services that the tests of one module share."""

from collections.abc import Iterator

import pytest

from tests.support.service import serving, write_service_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_service_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("requests")


@pytest.fixture(scope="module")
def port(model, folder) -> Iterator[int]:
    with serving(model, folder, "--max-megabytes", "2", "--max-values", "3000000") as port:
        yield port
    assert list(folder.iterdir()) == [], "what clients sent is gone"


@pytest.fixture(scope="module")
def nifti_port(folder, tmp_path_factory) -> Iterator[int]:
    model = write_service_model(tmp_path_factory.mktemp("model") / "model.onnx", ("t1", "flair"))
    with serving(model, folder) as port:
        yield port
