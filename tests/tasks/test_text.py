"""Corpora and vocabularies: the published counts, and what is said when something is missing."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from rnnjax.tasks import text
from rnnjax.tasks.text import CORPORA, DataError, Source, Vocabulary, characters, fetch, of_file, read_text, words
from tests.support import go_offline

LINES = " the cat sat \n\n the dog <unk> \n"


def test_words_have_one_end_a_line():
    assert words(LINES) == ["the", "cat", "sat", "<eos>", "<eos>", "the", "dog", "<unk>", "<eos>"]


def test_vocabulary_is_by_first_occurrence():
    vocabulary = Vocabulary.build(words(LINES))
    assert vocabulary.symbols == ("the", "cat", "sat", "<eos>", "dog", "<unk>")
    tokens = vocabulary.encode(["dog", "the", "bird"])
    np.testing.assert_array_equal(tokens, [4, 0, 5])
    assert tokens.dtype == np.int32
    assert vocabulary.decode(tokens) == ["dog", "the", "<unk>"]


def test_unknown_symbol_is_named_where_there_is_no_unk():
    vocabulary = Vocabulary.build(characters("abc"))
    with pytest.raises(DataError, match="'z', at place 3, is not among the 3 symbols of the training text"):
        vocabulary.encode("abz")


def test_rare_symbols_are_unknown():
    vocabulary = Vocabulary.build(["a", "b", "a", "c", "c"], min_count=2)
    assert vocabulary.symbols == ("a", "c", "<unk>")
    np.testing.assert_array_equal(vocabulary.encode(["b", "c"]), [2, 1])


def test_topics_of_python_need_no_folder_and_have_no_unknown_character(monkeypatch):
    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    corpus = CORPORA["python"](None)
    vocabulary = Vocabulary.build(characters(corpus.train))
    assert len(corpus.train) > 300_000
    assert 80 < len(vocabulary) < 100
    for split in corpus:
        assert "".join(vocabulary.decode(vocabulary.encode(split))) == split


def test_file_is_cut_in_order(tmp_path):
    content = "".join(map(chr, range(256, 356)))
    (tmp_path / "mine.txt").write_text(content, encoding="utf-8")
    corpus = of_file(tmp_path / "mine.txt")
    assert "".join(corpus) == content
    assert [len(split) for split in corpus] == [80, 10, 10]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"text\x00more", "is not text: character 4 is NUL"),
        (b"\x89PNG\r\n", "is not UTF-8 text: byte 0 is 0x89"),
    ],
)
def test_bad_files(content, message, tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(path)
    path = tmp_path / "file.txt.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=message):
        read_text(path)


def test_damaged_archive_and_missing_file(tmp_path):
    (tmp_path / "file.gz").write_bytes(gzip.compress(b"some text")[:-3])
    with pytest.raises(DataError, match="cannot read"):
        read_text(tmp_path / "file.gz")
    with pytest.raises(DataError, match=r"cannot read .*: No such file"):
        read_text(tmp_path / "none")


SOURCE = Source("some/file.txt", "https://example.invalid/file.txt", "0" * 64)


def test_fetching_looks_in_the_folder_first(tmp_path, monkeypatch):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "file.txt.gz").write_bytes(gzip.compress(b"zipped"))
    assert read_text(fetch(SOURCE, tmp_path)) == "zipped"
    (tmp_path / "some" / "file.txt").write_text("plain")
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path))
    assert read_text(fetch(SOURCE)) == "plain"
    with pytest.raises(DataError, match=r"the data folder .*nowhere does not exist"):
        fetch(SOURCE, tmp_path / "nowhere")


def test_failed_fetch_says_why_and_what_to_put_where(tmp_path, monkeypatch):
    """One line with the cause alone, no talk of pooch's, and none of the folders that it makes for the file."""
    go_offline(monkeypatch, tmp_path / "home" / "cache")
    said = []
    monkeypatch.setattr(pytest.importorskip("pooch").get_logger(), "handle", said.append)
    cause = r"^cannot fetch some/file\.txt from https://example\.invalid/file\.txt \(Name or service not known\)"
    with pytest.raises(DataError, match=rf"{cause}: put it at {tmp_path}/some/file\.txt$"):
        fetch(SOURCE, tmp_path)
    advice = r"put it at FOLDER/some/file\.txt, and give --data-dir FOLDER or set RNNJAX_DATA=FOLDER"
    with pytest.raises(DataError, match=rf"{cause}: {advice}$"):
        fetch(SOURCE)
    assert not said
    assert not list(tmp_path.iterdir())


def test_fetched_file_is_checked_and_kept(tmp_path, monkeypatch):
    """From a file's address, so that no network is needed: with its checksum, and with another."""
    pooch = pytest.importorskip("pooch")
    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr(pooch, "retrieve", _from_disk(pooch.retrieve, tmp_path))
    (tmp_path / "public.txt").write_text("content")
    good = Source("some/file.txt", "https://example.invalid/public.txt", pooch.file_hash(str(tmp_path / "public.txt")))
    found = fetch(good)
    assert found.read_text() == "content"
    assert found.parent == tmp_path / "cache"
    with pytest.raises(DataError, match=r"cannot fetch other/file.txt .*hash"):
        fetch(Source("other/file.txt", good.address, "0" * 64))
    assert not list((tmp_path / "cache").glob("other*"))


def _from_disk(retrieve, folder):
    def download(url, output_file, pooch):
        Path(output_file).write_bytes((folder / url.rsplit("/", 1)[1]).read_bytes())

    return lambda *arguments, **options: retrieve(*arguments, **options, downloader=download)


COUNTS = {
    "ptb": (words, 10_000, [929_589, 73_760, 82_430]),
    "wikitext2": (words, 33_278, [2_088_628, 217_646, 245_569]),
    "tinyshakespeare": (characters, 65, [1_003_854, 111_540, 111_540]),
}


@pytest.mark.slow
@pytest.mark.skipif("RNNJAX_DATA" not in os.environ, reason="no data folder")
@pytest.mark.parametrize("name", COUNTS)
def test_published_counts(name):
    units, symbols, lengths = COUNTS[name]
    splits = [units(split) for split in CORPORA[name](None)]
    vocabulary = Vocabulary.build(splits[0])
    assert len(vocabulary) == symbols
    assert [len(vocabulary.encode(split)) for split in splits] == lengths
    assert "<unk>" in vocabulary.symbols or name == "tinyshakespeare"


@pytest.mark.slow
@pytest.mark.skipif("RNNJAX_DATA" not in os.environ, reason="no data folder")
def test_checksums_are_those_of_the_files():
    """Of the unpacked text, where the folder has an archive."""
    import hashlib

    for source in (*text.PTB, text.TINY_SHAKESPEARE, *text.WIKITEXT_2):
        path = fetch(source)
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == source.sha256
