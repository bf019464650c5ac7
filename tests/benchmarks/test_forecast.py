"""The command line of the forecasting benchmark, end to end in a temporary folder."""

import dataclasses
import json
import math
from pathlib import Path
from statistics import NormalDist

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.__main__ import main
from benchmarks.errors import UsageError
from benchmarks.forecast import front
from benchmarks.forecast.config import PUBLISHED, RECIPES, Config, published
from benchmarks.forecast.experiment import bands, baseline, load, make_trainable, score
from benchmarks.forecast.flow import lags, log_norms
from benchmarks.forecast.report import table_rows
from rnnjax.models import make_forecaster
from rnnjax.tasks.forecasting import SERIES, generate_waves, waves
from tests.support import go_offline

SMALL = ["--series", "waves", "--examples", "60", "--window", "10", "--horizon", "3", "--seeds", "2", "--epochs", "2"]
SMALL += ["--hidden-size", "3", "--layers", "1", "--batch-size", "8"]
DATA = waves(10, 3, 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The results of a run of a baseline and a network with two seeds."""
    out = tmp_path_factory.mktemp("out")
    arguments = ["--models", "naive", "deep", "--tensorboard", "--out", str(out)]
    assert main(["forecast", *SMALL, *arguments]) == 0
    return results_in(out)


def results_in(out: Path, benchmark: str = "forecast") -> Path:
    (folder,) = (out / benchmark).iterdir()
    return folder


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_run(folder):
    names = {path.name for path in folder.iterdir()}
    figures = {f"{name}.{kind}" for name in ("forecasts", "by_step", "learning") for kind in ("png", "svg")}
    assert names == figures | {"records.jsonl", "config.json", "environment.json", "report.html", "deep-rnn-sequence"}
    assert {path.name for path in (folder / "deep-rnn-sequence").iterdir()} == {"checkpoints", "best", "tensorboard"}
    simple, *epochs, result = read(folder)
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    for record in (simple, *epochs, result):
        assert record["config"] == json.loads((folder / "config.json").read_text())
        assert record["environment"] == json.loads((folder / "environment.json").read_text())
    test = DATA.test.stretches
    np.testing.assert_allclose(simple["test_mse"], [np.square(test[:, 10:] - test[:, 9:10]).mean()], rtol=1e-4)
    assert (simple["name"], simple["head"], simple["parameters"]) == ("naive", "", 0)
    assert (result["model"], result["head"], result["status"]) == ("deep:rnn", "sequence", "ok")
    assert result["parameters"] == 3 * (1 + 3 + 1) + 3 * 3 + 3
    assert all(len(result[name]) == 2 for name in ("valid_mse", "test_mse", "test_mae", "valid_all_steps_mse"))
    np.testing.assert_allclose(np.median(result["valid_mse"]), min(e["valid_loss"] for e in epochs), rtol=1e-4)
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "deep:rnn" in page


@pytest.mark.slow
def test_flow_can_be_measured_later_and_resuming_what_is_done_changes_nothing(folder):
    assert main(["forecast", "--resume", str(folder), "--flow"]) == 0
    assert np.shape(read(folder)[-1]["log_norms"]) == (2, 10)
    assert (folder / "report.html").read_text().count("<svg") == 4
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".png"}
    assert main(["forecast", "--resume", str(folder), "--flow"]) == 0
    assert {path: path.read_bytes() for path in kept} == kept


@pytest.mark.slow
def test_iterated_forecasts_on_two_devices(tmp_path):
    """The same errors as on one, to rounding, with averages of batch normalisation among what is spread."""
    found = []
    for devices in ("1", "2"):
        arguments = ["--models", "batch-norm", "--heads", "iterated", "--devices", devices, "--flow"]
        assert main(["forecast", *SMALL, *arguments, "--out", str(tmp_path / devices)]) == 0
        found.append(read(results_in(tmp_path / devices))[-2:])
    np.testing.assert_allclose(*(result["test_mse"] for result, _ in found), rtol=1e-3)
    _, flow = found[0]
    assert flow["lags"] == list(range(9, -1, -1))
    assert np.shape(flow["log_norms"]) == (2, 10)
    assert (results_in(tmp_path / "1") / "flow.svg").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seeds", ["1", "2"])
def test_devices_change_no_result(seeds, tmp_path):
    """Two devices share out the seeds, or of a single seed the batches: the same losses, but for rounding."""
    small = [*SMALL]
    small[small.index("--seeds") + 1] = seeds

    def losses(devices):
        arguments = ["--models", "deep", "--average-after", "1", "--devices", devices]
        assert main(["forecast", *small, *arguments, "--out", str(tmp_path / devices)]) == 0
        *epochs, result = read(results_in(tmp_path / devices))
        return [(epoch["loss"], epoch["valid_loss"]) for epoch in epochs], result["test_mse"]

    chex.assert_trees_all_close(losses("2"), losses("1"), rtol=1e-4)


def test_devices_share_out_seeds_before_batches():
    config = Config(devices=2, batch_size=8)
    assert dict(config.mesh(2).shape) == {"seeds": 2, "batch": 1}
    assert dict(config.mesh(3).shape) == dict(config.mesh().shape) == {"seeds": 1, "batch": 2}
    assert dataclasses.replace(config, batch_size=7).mesh(3) is None


@pytest.mark.slow
def test_front(tmp_path, capsys):
    """Behind a stride the gradient of the same cell halves over more steps of the input."""
    arguments = ["--cells", "rnn", "--strides", "1", "4", "--window", "40", "--seeds", "4", "--batch-size", "2"]
    assert main(["forecast", "front", *arguments, "--out", str(tmp_path)]) == 0
    folder = results_in(tmp_path, "forecast-front")
    assert {path.suffix for path in folder.iterdir()} == {".json", ".jsonl", ".png", ".svg"}
    lives = {stride: [r["half_life"] for r in read(folder) if r["stride"] == stride] for stride in (1, 4)}
    assert len(lives[1]) == len(lives[4]) == 4
    assert np.median(lives[4]) > 2 * np.median(lives[1])
    assert "rnn, stride 4: half-life" in capsys.readouterr().out


def test_interrupted_front_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    """What it says takes over the settings, and does what is not done yet."""
    arguments = ["--cells", "rnn", "gru", "--strides", "1", "--window", "4", "--seeds", "1", "--batch-size", "1"]
    done = []

    def measure(config, cell, stride, waves, here):
        if len(done) == 1:
            done.append("stopped")
            raise KeyboardInterrupt
        done.append(cell)
        norms = {"half_life": 1.0, "lags": [1, 0], "log_norms": [0.0, 1.0]}
        return [{"cell": cell, "stride": stride, "seed": 0, **norms}]

    monkeypatch.setattr(front, "measure", measure)
    assert main(["forecast", "front", *arguments, "--out", str(tmp_path)]) == 130
    _, command = " ".join(capsys.readouterr().err.split()).split("python -m benchmarks ")
    assert main(command.split()) == 0
    assert done == ["rnn", "stopped", "gru"]


@pytest.mark.slow
def test_gradient_norms_are_those_of_perturbed_carries():
    """Of two layers with batch normalisation between them, by finite differences of what each layer gives.

    Those of a cell whose output is its carry: a change of the carry at a step is one of the output and of all later
    steps, which the cell is run for from there.
    """
    model = make_forecaster("batch-norm:rnn", 1, 1, hidden_size=2, layers=2, rngs=nnx.Rngs(0))
    model.eval()
    window, step, size = 4, 1, 1e-3
    stretches = jnp.asarray(generate_waves(np.random.RandomState(1), 1, window + 1))
    curve = log_norms(model, stretches, window)
    values = stretches[0][:, None]

    def loss(number, change):
        xs = values[:window]
        for index, layer in enumerate(model.layers):
            if index == number:
                carry, first = layer(xs[: step + 1])
                carry = jax.tree.map(lambda leaf: leaf + change, carry)
                _, last = layer(xs[step + 1 :], carry)
                xs = jnp.concatenate([first[:-1], carry.h[None], last])
            else:
                xs = model.run(xs, index, index + 1)
        return float(jnp.square(model.read(xs)[-1] - values[window]).mean())

    slopes = [
        (loss(number, size * direction) - loss(number, -size * direction)) / (2 * size)
        for number in (0, 2)
        for direction in np.eye(2, dtype=np.float32)
    ]
    np.testing.assert_allclose(np.exp(curve[step]), np.linalg.norm(slopes), rtol=0.02)
    assert list(lags(model, window)) == [3, 2, 1, 0]


def test_bands_hold_what_they_say():
    """Of ten members that are off by N(0, 1) each, on values with noise N(0, 2^2): a variance of 4 + 1 and of 1 more,
    by which a member misses a value that it is off from.
    """
    random = np.random.RandomState(0)
    shape = (10, 4000, 1, 1)
    valid = np.square(random.standard_normal(shape) + 2 * random.standard_normal(shape[1:]))
    forecasts = random.standard_normal(shape)
    mean, deviation = bands(valid, forecasts)
    np.testing.assert_allclose(np.square(deviation).mean(), 5 + 0.9, rtol=0.03)
    truth = 2 * random.standard_normal(shape[1:])
    covered = np.abs(truth - mean) <= NormalDist().inv_cdf(0.95) * deviation
    want = 2 * NormalDist(0, math.sqrt(4.1)).cdf(NormalDist().inv_cdf(0.95) * math.sqrt(5.9)) - 1
    np.testing.assert_allclose(covered.mean(), want, atol=0.015)


def test_diverged_seed_is_left_out_of_the_ensemble():
    targets = DATA.targets(DATA.test)
    forecasts = np.stack([targets + 0.1, targets - 0.1, np.full_like(targets, np.nan)])
    valid = np.stack([DATA.targets(DATA.valid) + each for each in (0.1, -0.1, 0.1)])
    record = score(DATA, valid, forecasts)
    np.testing.assert_allclose(record["test_mse"], [0.01, 0.01, np.nan], rtol=1e-4)
    np.testing.assert_allclose(record["test_mae"][:2], 0.1, rtol=1e-4)
    assert (record["diverged"], record["coverage"]) == (1, 1.0)
    assert record["ensemble_mse"] < 1e-10
    nothing = score(DATA, valid, np.full_like(forecasts, np.nan))
    assert nothing["diverged"] == 3
    assert "ensemble_mse" not in nothing


BAD_INPUT = {
    "--series sunspot": "--series: unknown series 'sunspot': did you mean 'sunspots'?",
    "--series airline --data-dir {folder}/none": "--series airline: the data folder {folder}/none does not exist",
    "--series airline --data-dir {folder}": "--series airline: cannot fetch timeseries/airline-passengers.csv",
    "--models wavent": "--models: unknown model 'wavent': did you mean 'wavenet'?",
    "--models deep:ltsm": "--models: unknown cell 'ltsm': did you mean 'lstm'?",
    "--models conv conv:gru": "--models: conv:gru conv:gru has a value twice",
    "--series waves --examples 50 --models seasonal-naive": "--models: waves has no season: leave out seasonal-naive",
    "--series waves --examples 9": "--examples must be at least 10, got 9",
    "--series waves --examples 10 --models deep": "--models deep:rnn: 7 examples are too few for a batch of 32",
    "--series waves --examples 60 --window 3 --models conv": "--models conv:gru: xs has 3 steps, but the convolution",
    "--series waves --examples 60 --models units:lstm-projected": "--models units:lstm-projected: a forecast of 10",
    "--window 200": "--series sunspots: the training split, steps 200 to 185, is too short for a window of 200 and",
    "--horizon 0": "--horizon must be at least 1, got 0",
    "--keep 0": "--keep must be at least 1, got 0",
    "--heads seq": 'Invalid value "seq" for --heads. Choose from: "sequence", "vector", "iterated"',
    "--resume {folder}": "--resume: {folder} is not a results folder",
    "front --strides 0": "--strides must be at least 1, got 0",
    "front --window 20": "--window 20: a stride of 8 takes 32 steps or more",
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, tmp_path, capsys, monkeypatch):
    go_offline(monkeypatch, tmp_path / "cache" / "rnnjax")
    (tmp_path / "in").mkdir()
    places = {"folder": tmp_path / "in"}
    out = ["--out", str(tmp_path / "out")]
    assert main(["forecast", *arguments.format(**places).split(), *out]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(BAD_INPUT[arguments].format(**places))
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.rglob("*")) == [tmp_path / "in"]


def test_iterated_forecasts_read_what_they_forecast():
    both = DATA._replace(train=DATA.train._replace(stretches=np.repeat(DATA.train.stretches, 2, axis=-1)))
    with pytest.raises(UsageError, match="--heads iterated reads its own forecasts, but of the 2 variables"):
        make_trainable(Config(window=10, horizon=3), "deep:rnn", "iterated", both)


@pytest.mark.parametrize("series", ["waves", *SERIES])
def test_recipes_are_complete(series):
    config = Config(**{"series": series, **RECIPES[series]})
    config.check()
    assert len(config.baselines) >= 2
    assert len(config.networks) >= 5


def test_recipe_of_waves_is_that_of_the_book():
    config = Config(**{"series": "waves", **RECIPES["waves"]})
    assert (config.optimizer, config.learning_rate, config.batch_size, config.epochs) == ("adam", 1e-3, 32, 20)
    settings = dataclasses.asdict(config)
    assert published(settings, "deep:gru", "sequence") == ("0.0103-0.0111", "0.0238-0.0246")
    assert published(settings, "naive", "") == ("0.257", "")
    assert published(settings | {"hidden_size": 30}, "deep:gru", "sequence") == ("", "")
    assert published(settings | {"horizon": 1}, "units:rnn", "vector") == ("", "")
    assert published(settings | {"horizon": 1, "layers": 1}, "units:rnn", "vector") == ("0.0108-0.0109", "")
    assert published(settings | {"horizon": 1, "layers": 3}, "units:rnn", "vector") == ("0.0029", "")
    assert published(settings, "linear", "") == ("0.0155 (0.0188)", "")
    assert "conv-pool:gru" in config.models
    assert {model for horizon, _, model, head in PUBLISHED if horizon == 10 and not head} == {"naive", "linear"}


def test_seasonal_naive_of_the_sunspots():
    """Against a loop over the years of the test split."""
    pytest.importorskip("statsmodels")
    data = load(Config(), None)
    values = (load_years() - data.mean[0]) / data.scale[0]
    errors = [
        (values[origin + ahead] - values[origin + ahead - 11]) ** 2
        for origin in range(247, 309 - 11 + 1)
        for ahead in range(11)
    ]
    np.testing.assert_allclose(baseline("seasonal-naive", data)["test_mse"], [np.mean(errors)], rtol=1e-4)


def load_years():
    from statsmodels.datasets import sunspots

    return sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()


def test_table():
    config = dataclasses.asdict(Config(**{"series": "waves", **RECIPES["waves"]}))
    about = {"kind": "result", "config": config, "status": "ok", "seconds": 90.0, "coverage": 0.875}
    simple = about | {"model": "naive", "head": "", "parameters": 0, "valid_mse": [0.25697], "test_mse": [0.25]}
    network = about | {"model": "deep:gru", "head": "sequence", "parameters": 4050, "epoch": 19, "diverged": 1}
    network |= {"valid_mse": [0.01, 0.012, "nan"], "test_mse": [0.01, 0.012, "nan"], "ensemble_mse": 0.0098}
    headings, first, second = table_rows([simple, network])
    row = dict(zip(headings, second, strict=True))
    assert row["model"] == "deep:gru (1 diverged)"
    assert row["validation"] == "0.011 ± 0.001"
    assert second[headings.index("validation") + 1] == "0.0103-0.0111"
    assert (row["ensemble"], row["coverage"], row["minutes"], row["parameters"]) == ("0.0098", "88%", "1.5", "4,050")
    row = dict(zip(headings, first, strict=True))
    assert (row["validation"], row["ensemble"], row["minutes"]) == ("0.257", "", "")
