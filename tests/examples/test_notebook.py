"""The notebook runs from its first cell to its last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("search.ipynb")


@pytest.mark.slow  # it trains and searches: minutes
@pytest.mark.ray
def test_notebook_runs_to_its_end_and_promotes_a_model():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parents[2])}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output]
    printed = "".join(output["text"] for output in outputs)
    assert "epoch 10: validation Dice" in printed
    assert "promoted: t00" in printed
