"""Every notebook runs from top to bottom, and is committed without outputs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_clean_and_opens_in_colab(path):
    notebook = read(path)
    nbformat.validate(notebook)
    badge = f"https://colab.research.google.com/github/rnnjax/rnnjax/blob/main/notebooks/{path.name}"
    assert badge in notebook.cells[0].source
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path):
    notebook = read(path)
    NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    printed = "".join(
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream"
    )
    if path.stem == "gradient_flow":
        assert "1.1^100 = 13780.6" in printed
        # Published figures, "Deep Learning from Scratch 2": the norm after one step and twenty, and its last ratio.
        assert "1.0 W: norm 2.4684 after 1 step, 249.5 after 20; last factor 1.25519" in printed
        assert "0.5 W: norm 1.2342 after 1 step, 0.0002379 after 20" in printed
    if path.stem == "translation":
        exact = dict(re.findall(r"attention (\w+): ([\d.]+)% of the held-out dates are right", printed))
        assert float(exact["multiplicative"]) > 90
        assert set(exact) == {"None", "multiplicative"}
    if path.stem == "language_model":
        assert "ln 4 = 1.386" in printed
        assert "loss 0.00" in printed
        assert ": hello" in printed
        perplexities = re.findall(r"(rnn|lstm|gru): perplexity ([\d.]+) after", printed)
        assert [cell for cell, _ in perplexities] == ["rnn", "lstm", "gru"]
        assert all(float(value) < 20 for _, value in perplexities)  # of 94 characters
    if path.stem == "forecasting":
        assert "naive: 0.256974" in printed  # published, as the next
        assert "linear: 0.01549" in printed
        (error,) = re.findall(r"conv:gru, 3 seeds: ([\d.]+) after", printed)
        assert float(error) < 0.1
        assert all(50 <= int(share) <= 100 for share in re.findall(r"in the band: (\d+)%", printed))
        naive, seasonal, *_ = map(float, re.findall(r"error ([\d.]+) sunspots", printed))
        assert seasonal < naive
