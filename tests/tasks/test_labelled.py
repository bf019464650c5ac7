"""Sequences with a class: published counts, and splits that share nothing."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from rnnjax.tasks.labelled import (
    LABELLED,
    cut,
    hold_out,
    names,
    of_lines,
    pad,
    polarity,
    read_series,
    sst_2,
    standardised,
    take,
)
from rnnjax.tasks.text import DataError

DATA = os.environ.get("RNNJAX_DATA")
with_data = pytest.mark.skipif(DATA is None, reason="RNNJAX_DATA is not set: no real data")
SERIES = "# a comment\n@problemName toy\n@classLabel true b a\n@data\n1,2,3:4,5,6:a\n7:8:b\n"


def test_padding():
    examples = pad([np.array([1, 2, 3]), np.array([4])], [0, 1])
    np.testing.assert_array_equal(examples.inputs, [[1, 2, 3], [4, 0, 0]])
    np.testing.assert_array_equal(examples.lengths, [3, 1])
    assert (examples.lengths.dtype, examples.labels.dtype) == (np.int32, np.int32)


def test_hold_out_takes_the_same_share_of_every_class_always():
    labels = np.array([0] * 100 + [1] * 50)[np.random.RandomState(1).permutation(150)]
    kept, held = hold_out(labels, 5)
    assert sorted([*kept, *held]) == list(range(150))
    np.testing.assert_array_equal(np.bincount(labels[held]), [20, 10])
    np.testing.assert_array_equal(hold_out(labels, 5)[1], held)
    assert len(set(np.diff(np.flatnonzero(np.isin(np.flatnonzero(labels == 0), held))))) > 1  # drawn, not every fifth


def test_cut_is_eighty_ten_ten():
    lines = [(label, str(number)) for label in range(3) for number in range(100)]
    splits = cut(lines, 10)
    assert [len(split) for split in splits] == [240, 30, 30]
    assert len({line for split in splits for line in split}) == 300


def test_words_that_are_rare_or_new_are_unknown():
    train = [(0, ["a", "bad", "film"]), (1, ["a", "film"])]
    data = of_lines(("no", "yes"), [train, [(1, ["a", "new", "film"])], [(0, ["bad"])]], 2)
    assert data.vocabulary.symbols == ("<unk>", "a", "film")
    np.testing.assert_array_equal(data.train.inputs, [[1, 0, 2], [1, 2, 0]])
    np.testing.assert_array_equal(data.valid.inputs, [[1, 0, 2]])
    np.testing.assert_array_equal(data.test.lengths, [1])


def test_series_are_read(tmp_path):
    (tmp_path / "toy.ts").write_text(SERIES)
    classes, examples = read_series(tmp_path / "toy.ts")
    assert classes == ("b", "a")
    np.testing.assert_array_equal(examples.inputs, [[[1, 4], [2, 5], [3, 6]], [[7, 8], [0, 0], [0, 0]]])
    np.testing.assert_array_equal(examples.labels, [1, 0])


@pytest.mark.parametrize("line", ["1,2:3,4,5:a", "1,2:3,x:a", "1,2:3,4:z", "", "a"])
def test_damaged_series_are_an_error(line, tmp_path):
    (tmp_path / "toy.ts").write_text(SERIES + line + "\n")
    with pytest.raises(DataError, match=r"toy\.ts is not a \.ts file of classified series"):
        read_series(tmp_path / "toy.ts")


def test_standardised_by_the_real_steps_of_the_first_split():
    random = np.random.RandomState(0)
    train = pad([3 + 2 * random.standard_normal((length, 2)) for length in (4, 9, 2)], [0, 1, 0])
    one, other = standardised(train, take(train, np.array([1])))
    values = np.concatenate([row[:length] for row, length in zip(one.inputs, one.lengths, strict=True)])
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(values.std(0), 1)
    assert not one.inputs[0, 4:].any()
    np.testing.assert_array_equal(other.inputs[0], one.inputs[1])


def test_names_of_a_folder(tmp_path):
    """Those that a language has twice count once; ten of a language are split eight, one, one."""
    (tmp_path / "names").mkdir()
    for language in ("Greek", "Czech"):
        lines = [f"{language[:2]}{number}" for number in range(10)] * 2
        (tmp_path / "names" / f"{language}.txt").write_text("\n".join(lines) + "\n")
    data = names(tmp_path)
    assert data.classes == ("Czech", "Greek")
    assert [np.bincount(split.labels).tolist() for split in data[1:4]] == [[8, 8], [1, 1], [1, 1]]
    with pytest.raises(DataError, match=r"there is no .*/names: put the files Arabic\.txt"):
        names(tmp_path / "names")


def test_vowels_without_their_package_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"come with the package aeon: pip install 'rnnjax\[data\]', or put"):
        LABELLED["japanese-vowels"](None)
    (tmp_path / "japanese-vowels").mkdir()
    for split in ("TRAIN", "TEST"):
        (tmp_path / "japanese-vowels" / f"JapaneseVowels_{split}.ts").write_text(SERIES + 10 * "1:1:a\n3:4:b\n")
    assert len(LABELLED["japanese-vowels"](tmp_path).train.labels) == 22 - 4


@pytest.mark.skipif(importlib.util.find_spec("aeon") is None, reason="aeon is not installed")
def test_japanese_vowels_are_the_published_ones(monkeypatch):
    """270 + 370 utterances of nine speakers, 7 to 29 frames; the classes of the test set as published."""
    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    data = LABELLED["japanese-vowels"](None)
    assert data.classes == tuple("123456789")
    assert [len(split.labels) for split in data[1:4]] == [216, 54, 370]
    np.testing.assert_array_equal(np.bincount(data.train.labels), 9 * [24])
    np.testing.assert_array_equal(np.bincount(data.test.labels), [31, 35, 88, 44, 29, 24, 40, 50, 29])
    assert data.test.inputs.shape == (370, 29, 12)
    assert min(split.lengths.min() for split in data[1:4]) == 7


@with_data
def test_sentences_are_the_published_ones():
    data = sst_2(Path(DATA))
    assert [len(split.labels) for split in data[1:4]] == [6920, 872, 1821]
    assert data.test.labels.sum() == 909
    words = data.vocabulary.decode(data.train.inputs[0, : data.train.lengths[0]])
    assert words[:4] == ["a", "stirring", ",", "funny"]
    assert data.train.labels[0] == 1
    splits = polarity(Path(DATA))[1:4]
    assert [np.bincount(split.labels).tolist() for split in splits] == [[4265, 4265], [533, 533], [533, 533]]


@with_data
def test_no_name_is_learned_and_tested():
    data = names(Path(DATA))
    assert len(data.classes) == 18
    sizes = [len(split.labels) for split in data[1:4]]
    np.testing.assert_allclose(np.array(sizes) / sum(sizes), [0.8, 0.1, 0.1], atol=0.001)
    seen = [
        {(label, tuple(row[:length])) for row, length, label in zip(*split, strict=True)}
        for split in (data.train, data.test)
    ]
    assert len(seen[0] & seen[1]) <= 2  # rare characters are <unk>: names that differ by them alone
    assert sum(map(len, seen)) >= 0.99 * (sizes[0] + sizes[2])


@pytest.mark.parametrize(("name", "shape"), [("digits", (28, 28)), ("digits-pixels", (784, 1))])
def test_digits_are_read_in_order(name, shape, monkeypatch):
    from rnnjax.tasks import labelled

    images = np.arange(20 * 784).reshape(20, 784).astype(np.uint8)
    monkeypatch.setattr(labelled, "load_digits", lambda *_: labelled.Digits(images, np.repeat([3, 7], 10)))
    data = LABELLED[name](None)
    assert data.test.inputs.shape == (20, *shape)
    np.testing.assert_array_equal((data.test.inputs.reshape(20, 784) * 255).round(), images)
    assert [len(split.labels) for split in data[1:4]] == [18, 2, 20]
    np.testing.assert_array_equal(data.valid.labels, [3, 7])
