"""The benchmark of 1997: its rows against the paper, its criteria by hand, the command line in a temporary folder."""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from benchmarks import readme
from benchmarks.__main__ import main
from benchmarks.hs1997 import experiment
from benchmarks.hs1997.command import share_out
from benchmarks.hs1997.config import Config
from benchmarks.hs1997.experiment import DIVERGED, RUNNING, SOLVED, UNSOLVED
from benchmarks.hs1997.records import remarks, summarise
from benchmarks.hs1997.report import print_table, table_rows
from benchmarks.hs1997.rows import EXPERIMENTS, LINEAR, ROWS, Effort, Recent, lstm_2a
from rnnjax.tasks import Adding1997, EmbeddedReber, LongLag2a
from tests.support import sampler


def results_in(out: Path) -> Path:
    (folder,) = (out / "hs1997").iterdir()
    return folder


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


# --- rows -------------------------------------------------------------------------------------------------------------


def test_all_published_numbers_of_weights():
    """Counted in the networks that run."""
    published = {name: row.weights for name, row in ROWS.items() if row.weights is not None}
    assert len(published) > 40
    assert {name: ROWS[name].counted for name in published} == published


def test_rows_are_those_of_the_tables():
    sizes = {name: len(rows) for name, rows in EXPERIMENTS.items()}
    assert sizes == {"1": 9, "2a": 9, "2b": 1, "2c": 9, "3a": 4, "3b": 3, "3c": 2, "4": 6, "5": 3, "6": 3}


@pytest.mark.parametrize("full", [False, True])
def test_every_cap_leaves_room_for_success(full):
    """Above what the criterion looks at, and where the paper solves a row also above the sequences it took."""
    for name, effort in Config(full=full).efforts.items():
        row = ROWS[name]
        stretch = row.criterion.size if isinstance(row.criterion, Recent) else 0
        published = row.published.sequences or 0
        is_counted_before = isinstance(row.criterion, Recent) and row.criterion.from_start
        assert effort.cap > (published + stretch if is_counted_before else max(published, stretch)), name


def test_default_run_takes_15_minutes_on_two_cores():
    """By its estimate, which takes no success into account."""
    assert sum(ROWS[name].seconds(effort) for name, effort in Config().efforts.items()) < 2 * 15 * 60


def test_experiment_asked_for_by_name_runs():
    """In full, if the default run has no row of it."""
    assert Config(experiments=("3c",)).efforts == {name: ROWS[name].full for name in EXPERIMENTS["3c"]}
    assert set(Config(experiments=("4",)).efforts) < set(EXPERIMENTS["4"]) | set()
    assert not set(Config().efforts) & set(EXPERIMENTS["3c"])


def test_default_run_has_an_lstm_of_each_experiment():
    found = {ROWS[name].experiment for name in Config().efforts if "lstm" in name}
    assert found >= {"1", "2a", "2b", "2c", "3a", "4", "5", "6"}
    assert set(Config(full=True).efforts) == set(ROWS)


# --- trials -----------------------------------------------------------------------------------------------------------

TINY = dataclasses.replace(
    ROWS["4-lstm-100-logistic"], task=Adding1997(22), criterion=Recent(3, 1, 0.01), tolerance=0.04, rate=0.0
)


def trained(row, trial, target):
    """After one sequence of zeros, with a target at its last step."""
    xs, targets = jnp.zeros((2, 2)), jnp.full((2, 1), target)
    example = experiment.Example(xs, targets, jnp.array([0.0, 1.0]), jnp.int32(2))
    return train(row, trial, example)


@partial(jax.jit, static_argnums=0)
def train(row, trial, example):
    return experiment._train(row, trial, example, jax.random.key(0))


@pytest.fixture(scope="module")
def fresh():
    """A trial that always answers 1/2, and never learns."""
    trial = jax.jit(partial(experiment.start, TINY))(jax.random.key(0))
    return trial._replace(params=jax.tree.map(jnp.zeros_like, trial.params))


def test_success_is_counted_over_the_last_sequences(fresh):
    """At most 1 of 3 wrong, with a mean squared error below 0.01, and not before there are 3."""
    trial, statuses = fresh, []
    for target in (0.5, 0.53, 0.7, 0.5, 0.6, 0.5):
        trial = trained(TINY, trial, target)
        statuses.append(int(trial.status))
    # Of the third and fourth the mean is 0.0409 / 3, at the fifth two are wrong, at the sixth it is 0.01 / 3.
    assert statuses == [RUNNING] * 5 + [SOLVED]
    np.testing.assert_allclose(np.sort(trial.errors), [0, 0, 0.01], atol=1e-6)
    assert trial.wrong.sum() == 1
    # Of the third to the fifth the mean is 0.05 / 3 too, so that it is small enough at the sixth for the first time.
    assert experiment.outcome(TINY, trial, 0, None, 0.0).first_stop == 6


def test_trial_that_is_given_up_tells_what_it_lacked(fresh):
    """The mean error is small enough after 3 sequences; that 2 of 3 are off by 0.05 is not right for it."""
    trial = fresh
    for target in (0.55, 0.55, 0.5):
        trial = trained(TINY, trial, target)
    assert trial.status == RUNNING
    found = experiment.outcome(TINY, trial._replace(status=jnp.int32(UNSOLVED)), 0, None, 0.0)
    assert (found.status, found.first_stop, found.recent_wrong) == ("unsolved", 3, 2)
    assert found.recent_error == pytest.approx(0.005 / 3, rel=1e-4)
    early = experiment.outcome(TINY, fresh._replace(status=jnp.int32(UNSOLVED)), 0, None, 0.0)
    assert (early.first_stop, early.recent_wrong, early.recent_error) == (None, None, None)


def test_a_trial_that_is_not_finite_stops_and_the_others_go_on(fresh):
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), fresh)
    both = both._replace(params=both.params._replace(w=both.params.w.at[0].set(jnp.nan)))
    xs, targets = jnp.zeros((2, 2)), jnp.full((2, 1), 0.9)
    example = experiment.Example(xs, targets, jnp.array([0.0, 1.0]), jnp.int32(2))
    after = jax.vmap(lambda trial: train(TINY, trial, example))(both)
    assert after.status.tolist() == [DIVERGED, RUNNING]
    assert after.sequences.tolist() == [1, 1]
    assert np.isfinite(after.params.w[1]).all()


@pytest.mark.parametrize(("outputs", "step"), [("logistic", 0.5 * 0.4 * 0.25), ("linear", 0.5 * 0.9)])
def test_online_learning_is_the_paper_s_rule(outputs, step):
    """One weight by hand, an output bias after a sequence: -rate (y - target), of a logistic output times y (1 - y)."""
    row = dataclasses.replace(TINY, rate=0.5, outputs=outputs)
    trial = jax.jit(partial(experiment.start, row))(jax.random.key(0))
    trial = trial._replace(params=jax.tree.map(jnp.zeros_like, trial.params))
    after = trained(row, trial, 0.9)
    np.testing.assert_allclose(after.params.b, [step], rtol=1e-6)
    frozen = dataclasses.replace(row, biases="none")
    np.testing.assert_array_equal(trained(frozen, trial, 0.9).params.b, [0])


@pytest.mark.slow
def test_hidden_units_take_no_part_before_they_are_added():
    row = dataclasses.replace(ROWS["2a-lstm-100"], task=LongLag2a(4), network=lstm_2a(5), added=1, criterion=Recent(3))
    trial = jax.jit(partial(experiment.start, row))(jax.random.key(0))
    example = jax.tree.map(lambda leaf: leaf[0], experiment.by_sequence(row, row.task.sample(jax.random.key(1), 1)))
    other = trial._replace(params=trial.params._replace(w=trial.params.w + 1))
    first, same = train(row, trial, example), train(row, other, example)
    np.testing.assert_array_equal(first.params.w_x, same.params.w_x)
    assert np.any(first.params.w_x != trial.params.w_x)
    np.testing.assert_array_equal(first.params.w, trial.params.w)
    np.testing.assert_array_equal(first.params.cell.w_x, trial.params.cell.w_x)
    assert np.any(train(row, first, example).params.cell.w_x != trial.params.cell.w_x)


def test_the_second_set_has_no_string_of_the_first():
    both = sampler(experiment.draw_strings, static_argnums=0)(EmbeddedReber(50), jax.random.key(0))
    words = [{tuple(s) for s in np.where(x.inputs.any(-1), x.inputs.argmax(-1), 7).T} for x in both]
    assert not words[0] & words[1]
    assert [x.lengths.shape for x in both] == [(256,), (256,)]
    assert min(len(found) for found in words) > 50


# --- what is shown ----------------------------------------------------------------------------------------------------


def record(row, trial, status, sequences, **others):
    defaults = dict.fromkeys(("first_stop", "wrong", "reason", "recent_wrong", "recent_error")) | {
        "trials": 5,
        "cap": 200_000,
    }
    return {"row": row, "trial": trial, "status": status, "sequences": sequences} | defaults | others


def test_summary():
    records = [record("4-lstm-100", i, "solved", n, wrong=i) for i, n in enumerate((37_000, 74_000, 185_000))]
    records += [record("4-lstm-100", 3, "diverged", 7), record("4-lstm-100", 4, "failed", None, reason="why")]
    found = summarise(records, "4-lstm-100")
    assert found.solved == 60  # of all: one that was cut off may have been a slow one
    assert found.ratio == 1.0
    assert found.wrong == pytest.approx(1 / 2560)
    assert remarks(found) == f"1 cut off before the end; 1 diverged after 7 sequences; {LINEAR}"
    texts = dict(zip(table_rows(records)[0], table_rows(records)[1 + list(ROWS).index("4-lstm-100")], strict=True))
    assert texts["ours: sequences, median (range)"] == "74,000 (37,000-185,000)"
    assert table_rows(records)[-2][-1] == "not run: for --full"


def test_words_of_the_paper():
    """What it says without a number, and how many sequences were not enough."""
    texts = {row[0]: row for row in table_rows([])}
    assert texts["1-rtrl-12"][3:5] == ("some fraction", "25,000")
    assert texts["2a-bptt-100"][3:5] == ("0 %", ">5,000,000")


def test_remarks_tell_why_a_trial_was_given_up():
    """No unit more in a cascade; a cap below what the criterion looks at; and how often a set is looked at."""

    def text(row, sequences, **others):
        return remarks(summarise([record(row, 0, "unsolved", sequences, trials=1, **others)], row))

    assert text("1-cascade", 640_000, cap=1_000_000).startswith(
        "1 not solved within 640,000 sequences, with all its 12 units; Rprop"
    )
    assert text("1-cascade", 1_000_000, cap=1_000_000).startswith("1 not solved within 1,000,000 sequences; Rprop")
    fewer = "1 not solved within 5,000 sequences, fewer than the 10,000 that the criterion looks at"
    assert text("2c-lstm-50-50", 5_000, cap=5_000) == fewer
    assert text("3a-lstm-100-3", 60_000).endswith("; looked at every 250 sequences")


def test_printed_table_takes_any_row(capsys):
    """In the order of the paper; also those of which nothing was published, or only how many trials failed."""
    print_table(Console(width=200), [record(name, 0, "unsolved", 10) for name in reversed(list(ROWS))])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2 : 2 + len(ROWS)]] == list(ROWS)
    published = {line.split()[0]: line.split()[-2] for line in lines[2 : 2 + len(ROWS)]}
    assert (published["3a-guessing-100-3"], published["4-lstm-100"]) == ("-", "74,000")


def test_summary_of_what_was_not_solved():
    """When the mean error was small enough, and what was missing in the end: medians."""
    given_up = [(30_000, 80, 3e-4), (34_000, 60, 2e-4), (None, 2000, 0.04)]
    records = [
        record("4-lstm-100", i, "unsolved", 150_000, first_stop=stop, recent_wrong=wrong, recent_error=error, trials=3)
        for i, (stop, wrong, error) in enumerate(given_up)
    ]
    *_, sequences, _, _, _, text = table_rows(records)[1 + list(ROWS).index("4-lstm-100")]
    assert sequences == "-, error < 0.01 after 32,000"
    assert text == "3 not solved within 150,000 sequences: 4 % of the last 2,000 wrong, error 0.0003; " + LINEAR


# --- the command line -------------------------------------------------------------------------------------------------

ROW = ["hs1997", "--rows", "2a-rtrl-4-1", "4-lstm-100", "--trials", "2", "--cap", "100"]


@pytest.mark.slow
def test_run_and_resume(tmp_path, capsys):
    """A run writes all that it promises; one whose records were lost halfway does what is missing, to the same."""
    assert main([*ROW, "--out", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    folder = results_in(tmp_path)
    assert {path.name for path in folder.iterdir()} == {
        "records.jsonl",
        "config.json",
        "environment.json",
        "hs1997.png",
        "hs1997.svg",
        "report.html",
    }
    assert "4-lstm-100: 2 not solved within 100 sequences" in text
    records = read(folder)
    assert sorted((r["row"], r["trial"]) for r in records) == [(row, i) for row in ROW[2:4] for i in range(2)]
    assert all(r["status"] == "unsolved" and r["sequences"] == 100 for r in records)
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records[:3]))
    assert main(["hs1997", "--resume", str(folder)]) == 0
    resumed = read(folder)
    assert resumed[:3] == records[:3]
    assert len(resumed) == 4

    path = folder / "records.jsonl"
    rendered = readme.render(f"<!-- table: hs1997 {path} -->\n<!-- end of table -->")
    assert rendered.count("\n| ") == len(ROWS) + 2
    assert rendered.count("0 % of 2") == 2


@pytest.mark.slow
def test_devices_change_no_result(tmp_path):
    """Two devices share out the trials of a row: what became of each is as on one, but for rounding."""

    def outcomes(devices):
        options = ["--rows", "2a-rtrl-4-1", "--trials", "3", "--cap", "10050", "--devices", devices]
        assert main(["hs1997", *options, "--out", str(tmp_path / devices)]) == 0
        records = sorted(read(results_in(tmp_path / devices)), key=lambda record: record["trial"])
        return [{name: record[name] for name in experiment.Outcome._fields if name != "seconds"} for record in records]

    got, want = outcomes("2"), outcomes("1")
    assert [record["trial"] for record in want] == [0, 1, 2]
    assert [record.pop("recent_error") for record in got] == pytest.approx(
        [record.pop("recent_error") for record in want], rel=1e-4
    )
    assert got == want


def test_a_row_that_would_keep_devices_waiting_is_cut():
    """Alone, or longer than a device's share of all; no more often than it has trials, and not where rows are many."""

    def parts(devices, trials):
        rows = {name: list(range(count)) for name, count in trials.items()}
        efforts = {name: Effort(20, 1000) for name in rows}
        return [(part.row, *part.trials) for part in share_out(rows, efforts, devices)]

    assert parts(1, {"6a-lstm": 5}) == [("6a-lstm", 0, 1, 2, 3, 4)]
    assert parts(2, {"6a-lstm": 5}) == [("6a-lstm", 0, 2, 4), ("6a-lstm", 1, 3)]
    assert parts(4, {"6a-lstm": 2}) == [("6a-lstm", 0), ("6a-lstm", 1)]
    assert parts(2, {"4-lstm-500": 1, "4-lstm-100": 5}) == [("4-lstm-500", 0), ("4-lstm-100", 0, 1, 2, 3, 4)]
    assert parts(3, {"4-lstm-500": 2, "4-lstm-100": 2}) == [
        ("4-lstm-500", 0),
        ("4-lstm-500", 1),
        ("4-lstm-100", 0, 1),
    ]
    efforts = Config().efforts
    whole = {name: list(range(effort.trials)) for name, effort in efforts.items()}
    assert sorted(part.row for part in share_out(whole, efforts, 2)) == sorted(efforts)


def test_interrupted_run_shows_what_there_is_and_resumes(tmp_path, capsys, monkeypatch):
    """Ctrl-C after the first trial; a resumed run that has all draws again."""

    def interrupted(row, cap, seed, trials):
        yield experiment.Outcome(trials[0], "unsolved", cap, None, None, 0.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["benchmarks.hs1997.command"], "run", interrupted)
    options = ["--rows", "4-lstm-100", "--trials", "2", "--cap", "100", "--devices", "1"]
    assert main(["hs1997", *options, "--out", str(tmp_path)]) == 130
    printed = capsys.readouterr()
    assert "4-lstm-100: 1 cut off before the end; 1 not solved within 100 sequences" in printed.out
    folder = results_in(tmp_path)
    assert f"--resume {folder}" in printed.err
    assert {"hs1997.svg", "report.html"} <= {path.name for path in folder.iterdir()}

    (folder / "records.jsonl").write_text(
        "".join(json.dumps(r | {"trial": i}) + "\n" for r in read(folder) for i in (0, 1))
    )
    (folder / "hs1997.svg").unlink()
    assert main(["hs1997", "--resume", str(folder)]) == 0
    assert (folder / "hs1997.svg").exists()


def test_row_that_fails_is_recorded(tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore")
        yield

    monkeypatch.setattr(sys.modules["benchmarks.hs1997.command"], "run", fail)
    assert main([*ROW, "--out", str(tmp_path)]) == 0
    assert "4-lstm-100 failed: RESOURCE_EXHAUSTED: out of memory more" in " ".join(capsys.readouterr().out.split())
    assert {r["status"] for r in read(results_in(tmp_path))} == {"failed"}


BAD_INPUT = {
    "--experiments 7": "--experiments: unknown experiment '7'",
    "--rows 4-lstm-10": "--rows: unknown row '4-lstm-10': did you mean '4-lstm-100'?",
    "--rows 4-lstm-100 4-lstm-100": "--rows: 4-lstm-100 4-lstm-100 has a value twice",
    "--rows 4-lstm-100 --experiments 4": "--rows says which rows: leave --experiments out",
    "--trials 0": "--trials must be at least 1, got 0",
    "--cap 0": "--cap must be at least 1, got 0",
    "--seed -1": "--seed must be at least 0, got -1",
    "--devices 0": "--devices must be at least 1, got 0",
    "--resume .": "--resume: . is not a results folder",
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, tmp_path, capsys):
    assert main(["hs1997", *arguments.split(), "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(BAD_INPUT[arguments])
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
