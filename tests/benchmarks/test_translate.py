"""The command lines of translate and caption, end to end in a temporary folder."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.caption import config as caption
from benchmarks.results import read_records
from benchmarks.translate import config as translate
from benchmarks.writing import command as writing
from benchmarks.writing.experiment import load, make_trainable
from benchmarks.writing.records import summary_rows, table_rows
from benchmarks.writing.scores import edits, measure
from rnnjax.tasks.pairs import CHARACTERS, PAIRS, WORDS, PairCorpus, Split
from rnnjax.tasks.pictures import CAPTIONS
from tests.support import go_offline

PICTURES = ["--examples", "64", "--batch-size", "32", "--width", "2"]
SMALL = ["--cell", "rnn", "--hidden-size", "4", "--embedding-size", "3", "--epochs", "2", "--eval-batch-size", "20"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a hundred additions."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "dl2").mkdir()
    (folder / "dl2" / "addition.txt").write_text("".join(f"{n}+1 _{n + 1}\n" for n in range(100)))
    return folder


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """The results of a run on them."""
    out = tmp_path_factory.mktemp("out")
    arguments = ["--data", "addition", "--data-dir", str(data), *SMALL, "--batch-size", "20", "--out", str(out)]
    assert main(["translate", "train", *arguments]) == 0
    (folder,) = (out / "translate").iterdir()
    return folder


def test_train(folder):
    figures = {f"{name}.{kind}" for name in ("loss", "attention") for kind in ("png", "svg")}
    files = {"records.jsonl", "config.json", "environment.json", "vocabulary.json", "report.html"}
    assert {path.name for path in folder.iterdir()} == files | figures | {"rnn"}
    *epochs, result = read_records(folder / "records.jsonl")
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    for record in (*epochs, result):
        assert record["config"] == json.loads((folder / "config.json").read_text())
        assert record["environment"] == json.loads((folder / "environment.json").read_text())
    assert set(result["scores"]) == {"exact"}
    assert result["valid_loss"] == min(epoch["valid_loss"] for epoch in epochs)
    assert len(result["samples"]) == 10
    for each in result["attention"]:
        weights = np.array(each["weights"])
        assert weights.shape == (len(each["written"]), len(each["source"]))
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-3)
        assert each["written"][-1] == "<eos>"
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 2
    assert result["samples"][0]["source"] in page


@pytest.mark.slow
def test_evaluate_and_write(folder, data, capsys):
    result = read_records(folder / "records.jsonl")[2]
    assert main(["translate", "evaluate", str(folder), "--data-dir", str(data)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"rnn, epoch {result['epoch']}, test: {result['test_loss']:.4f} nats a token, exact ")
    sample = result["samples"][0]
    assert main(["translate", "write", str(folder), sample["source"], "--data-dir", str(data)]) == 0
    assert capsys.readouterr().out == sample["written"] + "\n"
    assert main(["translate", "write", str(folder), "1-1", "--data-dir", str(data)]) == 2
    assert capsys.readouterr().err.startswith("TEXT: '-', at place 2, is not among the 11 symbols")


@pytest.mark.slow
def test_flow_can_be_measured_later_and_resuming_what_is_done_changes_nothing(folder, data):
    arguments = ["translate", "train", "--resume", str(folder), "--data-dir", str(data), "--flow"]
    assert main(arguments) == 0
    flow = read_records(folder / "records.jsonl")[-1]
    assert set(flow["norms"]) == {"encoder", "decoder"}
    assert np.isfinite(flow["norms"]["encoder"]).all()
    assert (folder / "report.html").read_text().count("<svg") == 3
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".png"}
    assert main(arguments) == 0
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_devices_change_no_result(folder, data, tmp_path):
    """Two devices share out the batches: the same losses as those of the one device before, but for rounding."""
    arguments = ["--data", "addition", "--data-dir", str(data), *SMALL, "--batch-size", "20", "--devices", "2"]
    assert main(["translate", "train", *arguments, "--out", str(tmp_path)]) == 0
    (spread,) = (tmp_path / "translate").iterdir()
    np.testing.assert_allclose(losses(spread), losses(folder), rtol=1e-4)


def losses(folder):
    """Of both epochs; behind them other tests may have added to a run."""
    return [(record["loss"], record["valid_loss"]) for record in read_records(folder / "records.jsonl")[:2]]


@pytest.fixture(scope="module")
def caption_folder(tmp_path_factory):
    """The results of a run on drawn pictures."""
    out = tmp_path_factory.mktemp("out")
    assert main(["caption", "train", *SMALL, *PICTURES, "--tensorboard", "--out", str(out)]) == 0
    (folder,) = (out / "caption").iterdir()
    return folder


@pytest.mark.slow
def test_captions(caption_folder):
    folder = caption_folder
    *_, result = read_records(folder / "records.jsonl")
    assert set(result["scores"]) == {"exact", *(f"bleu-{order}" for order in range(1, 5))}
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(result["samples"]) == 20
    assert result["samples"][0]["targets"][0] in page


@pytest.mark.slow
def test_devices_change_no_caption(caption_folder, tmp_path):
    """As in `test_devices_change_no_result`, with pictures beside texts."""
    assert main(["caption", "train", *SMALL, *PICTURES, "--devices", "2", "--out", str(tmp_path)]) == 0
    (spread,) = (tmp_path / "caption").iterdir()
    np.testing.assert_allclose(losses(spread), losses(caption_folder), rtol=1e-4)


@pytest.mark.slow
def test_additive_attention_and_scheduled_sampling(tmp_path, data):
    """Trains with both, on sources that are read from their end; attention maps have them in order again."""
    settings = "--attention additive --teacher-forcing 0.5 --forcing-decay 0.5 --reverse"
    arguments = ["--data", "addition", "--data-dir", str(data), *SMALL, "--batch-size", "20", *settings.split()]
    assert main(["translate", "train", *arguments, "--out", str(tmp_path)]) == 0
    *_, result = read_records(next(tmp_path.glob("translate/*/records.jsonl")))
    assert result["status"] == "ok"
    for each, sample in zip(result["attention"], result["samples"], strict=False):
        assert "".join(each["source"]) == sample["source"]


BAD_INPUT = {
    "translate train --data date": "--data: unknown data set 'date': did you mean 'dates'?",
    "translate train --cell gruu": "--cell: unknown cell 'gruu': did you mean 'gru'?",
    "translate train --attention dot": 'Invalid value "dot" for --attention.',
    "translate train --width 0": "--width must be at least 1, got 0",
    "translate train --penalty -1": "--penalty must be from 0 to 10, got -1.0",
    "translate train --teacher-forcing 2": "--teacher-forcing must be from 0 to 1, got 2",
    "translate train --dropout 1": "--dropout must be at least 0 and below 1, got 1",
    "translate train --keep 0": "--keep must be at least 1, got 0",
    "translate train --data addition --data-dir {folder}": "--data addition: {folder}/dl2/addition.txt is not what it",
    "translate train --data dates --data-dir {folder}": "6 pairs are too few for a batch of 128",
    "translate train --data multi30k --data-dir {folder}": "--data multi30k: cannot fetch multi30k/train.en.gz from h",
    "translate train --resume {folder}": "--resume: {folder} is not a results folder",
    "translate evaluate {folder}": "{folder} is not a results folder",
    "translate write {folder} text": "{folder} is not a results folder",
    "caption train --data flickr": "--data: unknown picture set 'flickr': did you mean 'flickr8k'?",
    "caption train --data flickr8k --data-dir {folder}": "--data flickr8k: Flickr8k may not be passed on",
    "caption evaluate {folder}": "{folder} is not a results folder",
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, tmp_path, capsys, monkeypatch):
    go_offline(monkeypatch, tmp_path / "cache" / "rnnjax")
    folder = tmp_path / "in"
    (folder / "dl2").mkdir(parents=True)
    (folder / "dl2" / "addition.txt").write_text("1+1\n")
    (folder / "dl2" / "date.txt").write_text("1.1_11\n" * 6)
    before = sorted(tmp_path.rglob("*"))
    out = ["--out", str(tmp_path / "out")] if " train" in arguments else []
    assert main([*arguments.format(folder=folder).split(), *out]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(BAD_INPUT[arguments].format(folder=folder))
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_recipe_switches_on_can_be_switched_off(monkeypatch):
    found = []
    monkeypatch.setattr(writing, "train", lambda benchmark, config, *others, **options: found.append(config))
    for options in ([], ["--no-reverse", "--no-peeky"]):
        assert main(["translate", "train", "--data", "addition", *options]) == 0
    assert [(config.reverse, config.peeky) for config in found] == [(True, True), (False, False)]
    assert main(["translate", "train", "--no-bidirectional"]) == 0
    assert not found[-1].bidirectional


def test_other_sources_are_another_run():
    """With the same targets, and as many sources."""

    def identity(sources):
        parts = [Split(sources, [("a",)] * 4)] * 3
        config = translate.Config(batch_size=4, hidden_size=2, embedding_size=2)
        return make_trainable(
            config, "rnn", load(config, PairCorpus(*parts, CHARACTERS, CHARACTERS, ("exact",)))
        ).identity

    assert identity(["ab"] * 4) == identity(["ab"] * 4) != identity(["aa"] * 4)


def test_recipes_are_complete():
    for recipes, known in ((translate.RECIPES, PAIRS), (caption.RECIPES, CAPTIONS)):
        assert set(recipes) == set(known)
        for name, settings in recipes.items():
            assert settings.data == name
            settings.check()


def test_scores():
    """Exact matches with any target, edits from the nearest, BLEU of a published example and of one's own targets."""
    corpus = PairCorpus(None, None, None, CHARACTERS, WORDS, ("exact", "error"))
    scores = measure(corpus, ["a b c", "a"], [("a b d", "x a b c"), ("b c", "a")])
    assert scores == {"exact": 0.5, "error": 1 / 4}  # of "a b d" and "a"
    bleu = corpus._replace(scores=("bleu",))
    text = "the cat sat on the mat"
    np.testing.assert_allclose(list(measure(bleu, [text], [("no", text)]).values()), 100)
    # Papineni et al. 2002, example 2: 2 of 7 words after clipping.
    seven = [("the cat is on the mat", "there is a cat on the mat")]
    np.testing.assert_allclose(measure(bleu, ["the the the the the the the"], seven)["bleu-1"], 100 * 2 / 7)


def test_tables():
    config = {"data": "dates", "attention": "additive", "peeky": False}
    epoch = {"cell": "gru", "kind": "epoch", "seconds": 90.0, "config": config}
    result = {
        "cell": "gru", "kind": "result", "status": "ok", "parameters": 12345, "epoch": 1, "valid_loss": 0.5,
        "test_loss": 0.25, "scores": {"exact": 0.987, "bleu-1": 31.25}, "config": config,
    }  # fmt: skip
    records = [epoch, epoch, result, epoch | {"config": {"data": "addition"}}]
    assert table_rows(records)[1] == ("gru", "12,345", "1", "3.0", "0.250", "98.7%", "31.2")
    headings, row = summary_rows(records, ("data", "attention", "peeky"))
    assert row == ("dates", "additive", "no", "gru", "12,345", "2", "3.0", "98.7%", "31.2")
    assert headings[-2:] == ("exact", "BLEU-1")
    records[2] = result | {
        "status": "diverged",
        "diverged_at": 7,
        "epoch": None,
        "scores": {},
        "test_loss": "nan",
        "valid_loss": "nan",
    }
    assert table_rows(records)[1][0] == "gru (diverged at step 7)"


@pytest.mark.slow
def test_report_of_a_model_that_diverged(tmp_path, data):
    arguments = ["--data", "addition", "--data-dir", str(data), *SMALL, "--batch-size", "20", "--attention", "none"]
    out = ["--out", str(tmp_path)]
    assert main(["translate", "train", *arguments, *out, "--optimizer", "sgd", "--learning-rate", "1e38"]) == 0
    page = next(Path(tmp_path).glob("translate/*/report.html")).read_text()
    assert re.search("addition: diverged", page)


def test_edits():
    assert edits("kitten", "sitting") == 3
    assert edits("", "abc") == edits("abc", "") == 3
    assert edits("same", "same") == 0
