"""The command line of the classification benchmark, end to end in a temporary folder, and its numbers."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rnnjax
from benchmarks.__main__ import main
from benchmarks.classify import flow
from benchmarks.classify.config import RECIPES, Config, recipe
from benchmarks.classify.experiment import load, load_best, outcome, scorer, time_major
from benchmarks.classify.records import table_rows, wilson
from benchmarks.training import from_saved
from rnnjax.cells import HiddenCarry
from rnnjax.models import Classifier, split
from rnnjax.tasks.labelled import LABELLED, Labelled, pad
from tests.support import go_offline, normal_like

SIZES = ["--hidden-size", "4", "--embedding-size", "3", "--batch-size", "8", "--epochs", "2", "--directions", "1"]
SMALL = ["--data", "names", "--cell", "rnn", *SIZES]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Three languages whose names begin alike, of 20, 20 and 40 names."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "names").mkdir()
    for language, count in (("Czech", 20), ("Greek", 20), ("Irish", 40)):
        lines = [language[0] + "abcde"[number % 5] * (1 + number // 5) for number in range(count)]
        (folder / "names" / f"{language}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def folder(data_dir, tmp_path_factory):
    """The results of a run of one model."""
    out = tmp_path_factory.mktemp("out")
    options = ["--seeds", "1", "--seed", "1", "--flow", "--tensorboard", "--data-dir", str(data_dir)]
    assert main(["classify", *SMALL, *options, "--out", str(out)]) == 0
    (folder,) = (out / "classify").iterdir()
    return folder


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_run(folder):
    names = {path.name for path in folder.iterdir()}
    figures = {f"{name}.{kind}" for name in ("confusion", "loss", "flow") for kind in ("png", "svg")}
    files = {"records.jsonl", "config.json", "environment.json", "report.html"}
    assert names == files | figures | {"rnn-1"}
    assert {path.name for path in (folder / "rnn-1").iterdir()} == {"checkpoints", "best", "tensorboard"}
    records = read(folder)
    assert [record["kind"] for record in records] == ["epoch", "epoch", "result", "flow"]
    for record in records:
        assert record["config"] == json.loads((folder / "config.json").read_text())
        assert record["environment"] == json.loads((folder / "environment.json").read_text())
        assert (record["run"], record["cell"], record["seed"]) == ("rnn-1", "rnn", 1)
    *epochs, result, _ = records
    assert result["valid_loss"] == min(epoch["valid_loss"] for epoch in epochs)
    confusion = np.array(result["confusion"])
    assert (confusion.sum(), np.trace(confusion)) == (8, result["correct"])
    np.testing.assert_array_equal(confusion.sum(1), [2, 2, 4])
    assert result["majority"] == 0.5
    assert "rnn" in (folder / "report.html").read_text()


def test_best_model_is_the_one_of_the_record(folder, data_dir):
    config = from_saved(json.loads((folder / "config.json").read_text()), Config)
    data = load(config, data_dir)
    model = load_best(config, "rnn-1", data, folder)
    named = model(time_major(data.test.inputs), data.test.lengths, deterministic=True).argmax(-1)
    (result,) = (record for record in read(folder) if record["kind"] == "result")
    assert (named == data.test.labels).sum() == result["correct"]


@pytest.mark.slow
def test_a_seed_is_the_same_model_in_every_run(folder, data_dir, tmp_path):
    """Alone, or behind another one, which is another model."""
    assert main(["classify", *SMALL, "--seeds", "2", "--data-dir", str(data_dir), "--out", str(tmp_path)]) == 0
    (both,) = (tmp_path / "classify").iterdir()
    losses = [record["test_loss"] for where in (both, folder) for record in read(where) if record["kind"] == "result"]
    assert losses[1] == losses[2] != losses[0]


@pytest.mark.slow
def test_devices_change_no_result(data_dir, tmp_path):
    """Two devices share out the batches: the same losses, but for rounding."""

    def losses(devices):
        out = tmp_path / str(devices)
        options = ["--seeds", "1", "--dropout", "0", "--devices", str(devices), "--data-dir", str(data_dir)]
        assert main(["classify", *SMALL, *options, "--out", str(out)]) == 0
        (folder,) = (out / "classify").iterdir()
        return [(record["loss"], record["valid_loss"]) for record in read(folder) if record["kind"] == "epoch"]

    np.testing.assert_allclose(losses(2), losses(1), rtol=1e-4)


@pytest.mark.slow
def test_resuming_what_is_done_changes_nothing(folder, data_dir):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".png"}
    assert main(["classify", "--resume", str(folder), "--data-dir", str(data_dir), "--flow"]) == 0
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_other_data_is_another_run(folder, tmp_path, capsys):
    """A checkpoint says what it was trained on."""
    (tmp_path / "names").mkdir()
    for language in ("Czech", "Greek", "Irish"):
        (tmp_path / "names" / f"{language}.txt").write_text("\n".join("mnopqrstuvwxyz"))
    (folder / "records.jsonl").rename(tmp_path / "records.jsonl")
    assert main(["classify", "--resume", str(folder), "--data-dir", str(tmp_path)]) == 1
    assert "is of another run: data is" in capsys.readouterr().err
    (tmp_path / "records.jsonl").rename(folder / "records.jsonl")


def test_scores():
    """Accuracy, confusion and the majority of three classes, by hand; logits that say the class of token 0."""
    examples = [pad([np.array([label])] * count, [label] * count) for label, count in ((0, 1), (1, 3))]
    train, valid = examples[1], examples[0]
    test = pad([np.array([token]) for token in (0, 1, 1, 2)], [0, 1, 2, 2])
    data = Labelled(("a", "b", "c"), train, valid, test)
    found = outcome(np.eye(3)[[0]], np.eye(3)[[0, 1, 1, 2]], data)
    assert (found["valid_accuracy"], found["correct"], found["examples"], found["majority"]) == (1.0, 3, 4, 0.25)
    assert found["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    right, wrong = math.log(math.e + 2) - 1, math.log(math.e + 2)
    np.testing.assert_allclose(found["test_loss"], (3 * right + wrong) / 4, rtol=1e-6)


@pytest.mark.slow
def test_scorer_scores_all_examples_once():
    model = Classifier([rnnjax.CELLS["rnn-identity"](2)], 2, 3, rngs=nnx.Rngs(0))
    params, _, build = split(model)
    examples = pad(list(normal_like(jax.ShapeDtypeStruct((300, 4, 2), jnp.float32), 0)), [0] * 300)
    want = model(time_major(examples.inputs), examples.lengths)
    np.testing.assert_allclose(scorer(build, examples)(params), want, rtol=1e-5, atol=1e-6)


def test_interval_is_that_of_wilson():
    """Against SciPy, and 81 of 263 as R. G. Newcombe published it (1998, table I)."""
    from scipy.stats import binomtest

    np.testing.assert_allclose(wilson(81, 263), (0.2553, 0.3662), atol=5e-5)
    for correct, examples in ((0, 20), (7, 9), (1457, 1821), (370, 370)):
        want = binomtest(correct, examples).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose(wilson(correct, examples), (want.low, want.high), atol=1e-12)


@pytest.mark.slow
def test_flow_is_the_gradient_by_perturbations():
    """Of a layer below another, in both directions, as reverse mode finds it at each step of each sequence."""
    lengths = np.array([6, 6, 4])
    xs = normal_like(jax.ShapeDtypeStruct((3, 6, 2), jnp.float32), 0)
    examples = pad([row[:length] for row, length in zip(xs, lengths, strict=True)], [0, 1, 2])
    cell = rnnjax.Elman(3)
    model = Classifier([cell, cell], 2, 3, bidirectional=True, pooling="last", rngs=nnx.Rngs(0))
    both = model.layers[0].params

    def loss(perturbations):
        ahead, back = (
            rnnjax.unroll(cell, weights, time_major(examples.inputs), lengths=lengths, reverse=reverse,
                          perturbations=HiddenCarry(given))[1]
            for weights, reverse, given in zip(both, (False, True), perturbations, strict=True)
        )  # fmt: skip
        _, ys = model.layers[1](jnp.concatenate([ahead, back], -1), lengths=lengths)
        logits = model.read(ys, model.real(ys, lengths))
        return -jnp.diagonal(jax.nn.log_softmax(logits)).sum()

    gradients = jax.jit(jax.grad(loss))((jnp.zeros((6, 3, 3)),) * 2)
    norms = [np.linalg.norm(each, axis=-1) for each in gradients]
    records = {(each["layer"], each["direction"]): each for each in flow.measure(model, examples)}
    assert set(records) == {(layer, to) for layer in (1, 2) for to in flow.DIRECTIONS}
    assert records[1, "forward"]["lags"] == [0, 1, 2, 3, 4, 5]
    ends = {"forward": lambda row, n, lag: n - 1 - lag, "backward": lambda row, n, lag: lag}
    for (direction, place), norm in zip(ends.items(), norms, strict=True):
        for lag, found in enumerate(records[1, direction]["log10_norm"][:4]):
            want = np.mean([norm[place(row, n, lag), row] for row, n in enumerate(lengths)])
            np.testing.assert_allclose(10**found, want, rtol=1e-3)


def test_table():
    """The model in the middle, the range of all; one that diverged is said, one that was interrupted costs nothing."""
    config = {"data": "names"}
    about = {"cell": "gru", "config": config}
    epoch = about | {"run": "gru-0", "kind": "epoch", "seconds": 60.0}
    result = about | {
        "run": "gru-0",
        "kind": "result",
        "status": "ok",
        "parameters": 1234,
        "examples": 100,
        "majority": 0.5,
    }
    results = [result | {"correct": correct, "valid_accuracy": correct / 200} for correct in (90, 70, 80)]
    (row,) = table_rows([*6 * [epoch], epoch | {"run": "gru-3"}, *results])[1:]
    low, high = wilson(80, 100)
    interval = f"{100 * low:.1f}-{100 * high:.1f}%"
    assert row == ("names", "gru", "1,234", "2.0", "40.0%", "80.0%", interval, "3: 70.0-90.0%", "50.0%")
    failed = results[1] | {"status": "diverged", "correct": None, "valid_accuracy": "nan", "majority": "nan"}
    (row,) = table_rows([epoch, results[0], failed])[1:]
    assert (row[1], row[5], row[7]) == ("gru (1 of 2 diverged)", "90.0%", "1: 90.0-90.0%")
    (row,) = table_rows([epoch, failed])[1:]
    assert row == ("names", "gru (1 of 1 diverged)", "1,234", *["-"] * 6)


BAD_INPUT = {
    "--data japanese-vowel": "--data: unknown data set 'japanese-vowel': did you mean 'japanese-vowels'?",
    "--cell ltsm": "--cell: unknown cell 'ltsm': did you mean 'lstm'?",
    "--pooling sum": "--pooling: unknown pooling 'sum'",
    "--seeds 0": "--seeds must be at least 1, got 0",
    "--directions 3": "--directions must be 1 or 2, got 3",
    "--dropout 1": "--dropout must be at least 0 and below 1, got 1",
    "--epochs 1.5": 'Invalid value for --epochs: unable to convert "1.5" into int',
    "--data names --data-dir {folder}": "--data names: there is no {folder}/names: put the files",
    "--data names --data-dir {folder}/none": "--data names: the data folder {folder}/none does not exist",
    "--data sst2 --data-dir {folder}": "--data sst2: cannot fetch sst2/stsa.binary.train from https://",
    "--data digits --data-dir {folder}": "--data digits: {folder} has no train-images-idx3-ubyte.gz",
    "--data-dir {vowels} --embedding-size 3": "--embedding-size is for characters and words, and japanese-vowels has",
    "--data-dir {vowels} --batch-size 30": "8 examples are too few for a batch of 30",
    "--resume {folder}": "--resume: {folder} is not a results folder",
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, tmp_path, capsys, monkeypatch):
    go_offline(monkeypatch, tmp_path / "cache" / "rnnjax")
    places = {name: tmp_path / name for name in ("folder", "vowels")}
    places["folder"].mkdir()
    (places["vowels"] / "japanese-vowels").mkdir(parents=True)
    for split_name in ("TRAIN", "TEST"):
        path = places["vowels"] / "japanese-vowels" / f"JapaneseVowels_{split_name}.ts"
        path.write_text("@classLabel true a b\n@data\n" + 5 * "1,2:a\n3,4:b\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(["classify", *arguments.format(**places).split(), "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(BAD_INPUT[arguments].format(**places))
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_recipes_are_complete():
    assert set(RECIPES) == set(LABELLED)
    for name, settings in RECIPES.items():
        assert settings.data == name
        Config(**recipe(settings)).check()
