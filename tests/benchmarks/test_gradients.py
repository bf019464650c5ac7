"""The command line of the gradient benchmark, end to end in a temporary folder."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.gradients.config import Config
from benchmarks.gradients.experiment import Experiment, Phase
from benchmarks.gradients.records import make_row
from benchmarks.results import Results

REPOSITORY = Path(__file__).parents[2]
SMALL = ["gradients", "--cells", "rnn", "lstm", "--lags", "10", "20", "--seeds", "3"]
SMALL += ["--steps", "2", "--hidden-size", "4", "--batch-size", "2"]


def start(arguments: list[str], variables: dict[str, str]) -> subprocess.Popen:
    # Whoever runs in the background ignores interrupts, and hands that down to what it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks", *map(str, arguments)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"COLUMNS": "100"} | variables,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def results_in(out: Path) -> Path:
    (folder,) = (out / "gradients").iterdir()
    return folder


def test_run(tmp_path, capsys):
    """All files of a small run."""
    small = ["--cells", "rnn", "--lags", "10", "--seeds", "2", "--steps", "1"]
    assert main(["gradients", *small, "--out", str(tmp_path)]) == 0
    assert "half-life" in capsys.readouterr().out
    check_files(results_in(tmp_path))


@pytest.mark.slow
def test_run_and_interrupted_run(tmp_path):
    """A run writes all that it promises; one that is interrupted and resumed ends with the same records."""
    # Each program is compiled once for all runs of this test.
    cache = {"JAX_COMPILATION_CACHE_DIR": f"{tmp_path}/cache", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    process = start([*SMALL, "--out", tmp_path / "whole"], cache)
    text, errors = process.communicate()
    assert process.returncode == 0, errors
    whole = results_in(tmp_path / "whole")
    assert "half-life" in text
    assert str(whole) in text
    check_files(whole)
    check_records(read(whole))

    process = start([*SMALL, "--out", tmp_path / "interrupted"], cache)
    interrupt_after_first_records(process, tmp_path / "interrupted")
    _, errors = process.communicate()
    interrupted = results_in(tmp_path / "interrupted")
    assert process.returncode == 130
    assert errors.strip().endswith(f"--resume {interrupted}")
    assert "Traceback" not in errors
    begun = read(interrupted)
    assert 0 < len(begun) < 36
    # A crash in the middle of an append leaves a cut line, and an experiment that is not whole.
    with (interrupted / "records.jsonl").open("a") as file:
        file.write(json.dumps(begun[0] | {"lag": 20}) + "\n" + '{"cell": "rn')
    process = start(["gradients", "--resume", interrupted], cache)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    check_files(interrupted)
    assert comparable(read(interrupted)) == comparable(read(whole))


def check_files(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    figures = {f"{name}.{kind}" for name in ("curves", "norm_against_lag", "training_norms") for kind in ("png", "svg")}
    assert names == {"records.jsonl", "config.json", "environment.json", "report.html"} | figures
    for record in read(folder):
        assert record["config"] == json.loads((folder / "config.json").read_text())
        assert record["environment"] == json.loads((folder / "environment.json").read_text())
    report = (folder / "report.html").read_text()
    assert report.count("<svg") == 3
    assert "1.1<sup>100</sup> = 13780.6" in report
    names_of_formats = r"http://(www\.w3\.org|purl\.org|creativecommons\.org)/"
    assert "http://" not in re.sub(names_of_formats, "", report)


def check_records(records: list[dict]) -> None:
    """They are complete, and agree with each other."""
    keys = {(r["cell"], r["lag"], r["phase"], r["seed"]) for r in records}
    assert len(keys) == len(records) == 2 * 2 * 3 * 3
    for record in records:
        assert record["status"] == "ok"
        assert list(record["log10_norm"]) == (["h", "c"] if record["cell"] == "lstm" else ["h"])
        assert record["curve_lags"][-1] == record["lag"]
        curves = np.array([[float(x) for x in curve] for curve in record["log10_norm"].values()])
        whole = 0.5 * np.log10(np.sum(10 ** (2 * curves), axis=0))
        np.testing.assert_allclose(whole[-1] - whole[0], record["log10_norm_ratio"], atol=1e-3)
        if record["phase"] == "unclipped":
            assert record["training"]["norm_before"] == record["training"]["norm_after"]
            assert record["training"]["clipped_share"] == 0
        if record["phase"] == "clipped":
            before, after = (np.array(record["training"][f"norm_{when}"]) for when in ("before", "after"))
            np.testing.assert_allclose(after, np.minimum(before, 1), rtol=1e-4)
            assert record["training"]["clipped_share"] == np.mean(before > 1)
    # Clipped and unclipped runs of a seed see the same data: their first losses are the same.
    first = {(r["cell"], r["lag"], r["seed"], r["phase"]): r["training"]["loss"][0] for r in records if r["training"]}
    assert all(loss == first[(*key[:3], "clipped")] for key, loss in first.items())


def interrupt_after_first_records(process: subprocess.Popen, out: Path) -> None:
    deadline = time.time() + 120
    while time.time() < deadline and not any(path.stat().st_size for path in out.glob("gradients/*/records.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)


def comparable(records: list[dict]) -> list[str]:
    return sorted(
        json.dumps({name: value for name, value in record.items() if name != "environment"}) for record in records
    )


def test_row_sums_up_records():
    def record(seed, ratio, status="ok"):
        return {
            "cell": "rnn", "phase": "clipped", "lag": 10, "seed": seed, "status": status,
            "half_life": 2.0, "decay_rate": np.log(2) / 2, "log10_norm_ratio": ratio,
            "training": {"clipped_share": 0.5, "loss": [1.0, 0.5]},
        }  # fmt: skip

    row = make_row(
        [record(0, -4.0), record(1, -1.0), record(2, 4.0), record(3, "nan", "diverged")], "rnn", "clipped", 10
    )
    assert (row.vanished, row.exploded, row.clipped, row.loss) == (0.25, 0.5, 0.5, 0.5)
    np.testing.assert_allclose(row.decay.value, 0.5**0.5)


BAD_INPUT = {
    "--cells lsmt": "--cells: unknown cell 'lsmt': did you mean 'lstm'? Known: rnn,",
    "--cells": "--cells: give at least one",
    "--cells rnn rnn": "--cells: rnn rnn has a value twice",
    "--task ading-bai": "--task: unknown task 'ading-bai': did you mean 'adding-bai'?",
    "--lags 5 --task adding-pascanu": "--lags: 5 is below the shortest lag of task adding-pascanu, which is 10",
    "--lags x": 'Invalid value for --lags: unable to convert "x" into int',
    "--lags 10.7": 'Invalid value for --lags: unable to convert "10.7" into int',
    "--seeds 1.5": 'Invalid value for --seeds: unable to convert "1.5" into int',
    "--seeds 0": "--seeds must be at least 1, got 0",
    "--steps 0": "--steps must be at least 1, got 0",
    "--hidden-size 0": "--hidden-size must be at least 1, got 0",
    "--batch-size -1": "--batch-size must be at least 1, got -1",
    "--data-seed 99999999999": "--data-seed must be at most 2147483647, got 99999999999",
    "--data-seed -1": "--data-seed must be at least 0, got -1",
    "--devices 0": "--devices must be at least 1, got 0",
    "--devices 99": "--devices: there are 2 here, not 99",
    "--learning-rate 0": "--learning-rate must be a positive number, got 0",
    "--max-norm nan": "--max-norm must be a positive number, got nan",
    "--forget-bias inf": "--forget-bias must be a finite number, got inf",
    "--dtype int8": 'Invalid value "int8" for --dtype. Choose from: "float32", "float64", "bfloat16"',
    "--lag 10": "Unknown option: --lag. Did you mean --lags?",
    "--compare torch --resume .": "--resume: --compare does not resume",
    "--compare torch --steps 5": "--steps has no effect on --compare: leave it out",
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, tmp_path, capsys):
    assert main(["gradients", *arguments.split(), "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(BAD_INPUT[arguments])
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["gradients", "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err == f"--out: cannot write to {tmp_path / 'file' / 'gradients'}: Not a directory\n"


def test_resume_of_another_configuration(tmp_path, capsys):
    folder = Results.create(tmp_path, "gradients", dataclasses.asdict(Config(seeds=3)), {}).folder
    (folder / "records.jsonl").write_text("{}\n")
    assert main(["gradients", "--resume", str(folder), "--seeds", "4"]) == 2
    assert capsys.readouterr().err.endswith("was made with another configuration: seeds is 3 there and 4 now\n")
    assert (folder / "records.jsonl").read_text() == "{}\n"


def test_resume_of_no_results_folder(tmp_path, capsys):
    assert main(["gradients", "--resume", str(tmp_path)]) == 2
    assert "is not a results folder: it has no readable config.json" in capsys.readouterr().err


def test_resume_of_something_else(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"foo": 1}')
    assert main(["gradients", "--resume", str(tmp_path)]) == 2
    assert "holds the results of something else" in capsys.readouterr().err


@pytest.mark.slow
def test_failed_experiment_stays_a_row(tmp_path, capsys, monkeypatch):
    def run_out_of_memory(self):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\nmore")

    monkeypatch.setattr(Experiment, "compile", run_out_of_memory)
    assert main([*SMALL, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "lstm, lag 20: out of memory" in printed
    folder = results_in(tmp_path)
    records = read(folder)
    assert len(records) == 36
    assert {record["status"] for record in records} == {"out of memory"}
    assert (folder / "report.html").read_text().count("<td>out of memory</td>") == 12
    monkeypatch.undo()  # and it is done again when the run is resumed
    assert main(["gradients", "--resume", str(folder)]) == 0
    check_records(read(folder))


@pytest.mark.slow
def test_norms_are_those_of_the_loss_at_the_end():
    """On copy memory every step has a loss; that of a step itself must not stand for what comes back from the end."""
    config = Config(task="copy-memory", lags=(50,), seeds=1, steps=1, hidden_size=4, batch_size=2)
    experiment = Experiment(config, "rnn", 50)
    curves = jax.jit(experiment.measure)(
        jax.tree.map(lambda leaf: leaf[0], (experiment.params(), experiment.batches(0)))
    )
    assert curves.components.h[-1] - curves.components.h[0] < -3


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2])
def test_devices_change_no_result(seeds):
    """Two devices share out the seeds, or of a single seed the batch."""

    def outcome(devices):
        config = Config(lags=(20,), seeds=seeds, steps=2, hidden_size=4, batch_size=2, devices=devices)
        experiment = Experiment(config, "gru", 20)
        return [phase[1:] for phase in experiment.run(experiment.compile()) if isinstance(phase, Phase)]

    chex.assert_trees_all_close(outcome(2), outcome(1), rtol=1e-4, atol=1e-5)


def test_unknown_benchmark(capsys):
    assert main(["gradint"]) == 2
    assert 'Did you mean "gradients"?' in capsys.readouterr().err


@pytest.mark.peers
def test_comparison_with_torch(tmp_path, capsys):
    pytest.importorskip("torch")
    arguments = ["--cells", "lstm", "--lags", "20", "--seeds", "2", "--hidden-size", "4", "--batch-size", "2"]
    assert main(["gradients", "--compare", "torch", *arguments, "--out", str(tmp_path)]) == 0
    assert "ratio" in capsys.readouterr().out
    (records,) = tmp_path.glob("gradients-torch/*/records.jsonl")
    (record,) = read(records.parent)
    assert {"rnnjax", "torch, threads 1"} <= set(record["seconds"])
    assert record["median"]["torch"] == min(
        np.median(seconds) for name, seconds in record["seconds"].items() if name != "rnnjax"
    )
