"""The command line of the benchmark of truncation, end to end in a temporary folder."""

import dataclasses
import json

import chex
import jax
import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.results import read_records
from benchmarks.truncation.config import Config
from benchmarks.truncation.experiment import Experiment
from benchmarks.truncation.report import table_rows

TINY = [
    "truncation",
    "--cells",
    "rnn",
    "--k2",
    "2",
    "10",
    "20",
    "--seeds",
    "2",
    "--hidden-size",
    "3",
    "--batch-size",
    "2",
]
TINY += ["--lags", "10"]


def test_run_and_resume(tmp_path):
    """Going back the whole sequence is exact, two steps are not, and more than there are is left out."""
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    (folder,) = (tmp_path / "truncation").iterdir()
    files = {"records.jsonl", "config.json", "environment.json", "truncation.png", "truncation.svg", "report.html"}
    assert {path.name for path in folder.iterdir()} == files
    text = (folder / "records.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert [(record["seed"], record["k2"]) for record in records] == [(0, 2), (0, 10), (1, 2), (1, 10)]
    for short, whole in (records[:2], records[2:]):
        np.testing.assert_allclose([whole["cosine"], whole["relative_norm"]], 1, atol=1e-4)
        assert short["cosine"] < 0.999
        # ||g - G||^2 / ||G||^2, by the law of cosines
        square = 1 + short["relative_norm"] ** 2 - 2 * short["relative_norm"] * short["cosine"]
        assert short["relative_error"] == pytest.approx(np.sqrt(square), rel=1e-3)

    assert main(["truncation", "--resume", str(folder)]) == 0
    assert (folder / "records.jsonl").read_text() == text


def test_failed_and_interrupted_experiments(tmp_path, capsys, monkeypatch):
    """An error of the device is a row; Ctrl-C leaves a figure and a report of what there is."""

    def measure(experiment):
        if experiment.lag == 20:
            raise KeyboardInterrupt
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(Experiment, "measure", measure)
    assert main([*TINY, "20", "--out", str(tmp_path)]) == 130
    (folder,) = (tmp_path / "truncation").iterdir()
    assert f"--resume {folder}" in capsys.readouterr().err
    records = read_records(folder / "records.jsonl")
    assert [(record["lag"], record["status"]) for record in records] == [(10, "out of memory")] * 4  # seeds and k2
    assert table_rows(records, Config(cells=("rnn",), lags=(10, 20)))[1] == ("rnn", "10", "2", "out of memory", "", "")
    assert {"truncation.svg", "report.html"} <= {path.name for path in folder.iterdir()}


@pytest.mark.slow
def test_devices_change_no_result():
    """Two devices share out the batch of a single seed."""
    config = Config(lags=(10,), k2=(2, 10), seeds=1, hidden_size=3, batch_size=2)
    one, two = (Experiment(dataclasses.replace(config, devices=number), "gru", 10).measure() for number in (1, 2))
    chex.assert_trees_all_close(two, one, rtol=1e-4, atol=1e-6)


def test_bad_input(tmp_path, capsys):
    for options, message in (
        (["--k2", "0"], "--k2 must be at least 1, got 0"),
        (["--k2", "40", "50", "--lags", "100", "30"], "--k2: all are above the 30 steps of adding-arjovsky at lag 30"),
        (["--devices", "99"], "--devices: there are 2 here, not 99"),
        (["--lags", "1"], "--lags: length of AddingArjovsky must be an integer of at least 2, got 1"),
    ):
        assert main(["truncation", *options, "--out", str(tmp_path)]) == 2
        assert message in capsys.readouterr().err
