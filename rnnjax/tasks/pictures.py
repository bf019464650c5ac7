"""Pictures and what people, or a template, say of them.

corpus = CAPTIONS["shapes"](data_dir)    its splits: pictures, and the captions of each
"""

import functools
import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8

from rnnjax.registry import Registry
from rnnjax.tasks.pairs import WORDS, PairCorpus, Split
from rnnjax.tasks.text import DataError, read_text

# --- shapes -----------------------------------------------------------------------------------------------------------

SIDE = 32
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 50),
    "purple": (150, 60, 180),
    "white": (245, 245, 245),
}
PLACES = {
    "at the top left": (8, 8),
    "at the top right": (8, 24),
    "in the middle": (16, 16),
    "at the bottom left": (24, 8),
    "at the bottom right": (24, 24),
}
ARRANGEMENTS = {"above": ((8, 16), (24, 16)), "left of": ((16, 8), (16, 24))}


def _inside(name: str, y: np.ndarray, x: np.ndarray, size: float) -> Bool[np.ndarray, "side side"]:
    """Where a shape of `size` around the origin is."""
    if name == "circle":
        return np.asarray(y**2 + x**2 <= size**2)
    if name == "square":
        return np.asarray(np.maximum(abs(y), abs(x)) <= 0.85 * size)
    if name == "triangle":
        return np.asarray((abs(x) <= (y + size) / 2) & (y <= 0.8 * size))
    return np.asarray((np.minimum(abs(y), abs(x)) <= 0.3 * size) & (np.maximum(abs(y), abs(x)) <= size))  # cross


SHAPES = ("circle", "square", "triangle", "cross")


def shapes(data_dir: Path | None = None) -> PairCorpus:
    """5,000 drawn pictures, 32 x 32, of one or two coloured shapes, each with one caption by a template.

    "a red circle at the top left", "a blue cross above a white square", "... left of ...": of 24 coloured shapes 120 +
    1,152 arrangements can be made, in random sizes and not quite in place. 4,000 to train on, 500 each for validation
    and test; nothing is read from `data_dir`.
    """
    pictures, captions = _drawn(5000)
    train, valid, test = (Split(pictures[a:b], captions[a:b]) for a, b in ((0, 4000), (4000, 4500), (4500, 5000)))
    return PairCorpus(train, valid, test, None, WORDS, ("exact", "bleu"), test.sources)


@functools.cache
def _drawn(count: int) -> tuple[UInt8[np.ndarray, "pictures side side 3"], list[tuple[str, ...]]]:
    """Pictures, and the caption of each."""
    random = np.random.RandomState(0)
    made = [_draw(random) for _ in range(count)]
    return np.stack([picture for picture, _ in made]), [(caption,) for _, caption in made]


def _draw(random: np.random.RandomState) -> tuple[UInt8[np.ndarray, "side side 3"], str]:
    def choice(names: Iterable[str]) -> str:
        known = list(names)
        return known[random.randint(len(known))]

    things = [f"{choice(COLOURS)} {choice(SHAPES)}" for _ in range(2)]
    if random.rand() < 0.5:
        place = choice(PLACES)
        placed, caption = [(things[0], PLACES[place])], f"a {things[0]} {place}"
    else:
        relation = choice(ARRANGEMENTS)
        placed = list(zip(things, ARRANGEMENTS[relation], strict=True))
        caption = f"a {things[0]} {relation} a {things[1]}"
    picture = 25 + random.randint(-10, 11, (SIDE, SIDE, 3))
    for thing, (row, column) in placed:
        colour, shape = thing.split()
        row, column = row + random.randint(-2, 3), column + random.randint(-2, 3)
        inside = _inside(shape, ROWS - row, COLUMNS - column, random.uniform(4, 6.5))
        picture[inside] = COLOURS[colour] + random.randint(-10, 11, 3)
    return picture.clip(0, 255).astype(np.uint8), caption


# --- Flickr8k ---------------------------------------------------------------------------------------------------------

PARTS = {"train": "trainImages", "valid": "devImages", "test": "testImages"}
FEATURES = "effnet_lite0_feats_u8.npz"
SHEET, TILES = 1024, 32


def flickr8k(data_dir: Path | None = None, kind: Literal["features", "thumbnails"] = "features") -> PairCorpus:
    """6,000 + 1,000 + 1,000 photographs, five captions each, in lower case and without punctuation.

    It may not be passed on: the folder `flickr8k` in the data folder has to hold Flickr8k.token.txt, the official lists
    Flickr_8k.trainImages.txt, .devImages.txt and .testImages.txt, and the pictures as

        effnet_lite0_feats_u8.npz             names, q uint8 [pictures, features], scale [features]: q * scale is the
                                              pooled output of a convolutional network, EfficientNet-Lite0
        thumbs64_0.jpg, thumbs64_1.jpg ...    sheets of 32 x 32 thumbnails of 64 x 64, in the order of names

    Source: M. Hodosh, P. Young, J. Hockenmaier, "Framing Image Description as a Ranking Task", 2013.
    """
    named = os.environ.get("RNNJAX_DATA")
    folder = (data_dir or (Path(named) if named else Path("FOLDER"))) / "flickr8k"
    needed = ["Flickr8k.token.txt", *(f"Flickr_8k.{part}.txt" for part in PARTS.values()), FEATURES]
    for name in needed:
        if not (folder / name).is_file():
            hint = "" if data_dir or named else ", and give --data-dir FOLDER or set RNNJAX_DATA=FOLDER"
            raise DataError(f"Flickr8k may not be passed on, so it is not fetched: put {name} into {folder}{hint}")
    captions: dict[str, list[str]] = {}
    for line in read_text(folder / "Flickr8k.token.txt").splitlines():
        name, _, caption = line.partition("\t")
        captions.setdefault(name.partition("#")[0], []).append(plain(caption))
    try:
        with np.load(folder / FEATURES) as file:
            names, features = file["names"].astype(str).tolist(), file["q"] * file["scale"].astype(np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder / FEATURES} is not what it should be: {error}") from None
    thumbnails = _thumbnails(folder, len(names))
    if kind == "features":
        pictures = features
    elif thumbnails is not None:
        pictures = thumbnails
    else:
        raise DataError(f"there are no thumbnails of {len(names)} pictures in {folder}: put thumbs64_*.jpg there")
    places = {name: place for place, name in enumerate(names)}
    splits, shown = [], None
    for part in PARTS.values():
        listed = read_text(folder / f"Flickr_8k.{part}.txt").split()
        missing = [name for name in listed if name not in places or name not in captions]
        if missing:
            raise DataError(f"{folder} has no picture or no caption of {missing[0]}, which Flickr_8k.{part}.txt lists")
        own = np.array([places[name] for name in listed])
        splits.append(Split(pictures[own], [tuple(captions[name]) for name in listed]))
        shown = None if thumbnails is None else thumbnails[own]
    train, valid, test = splits
    return PairCorpus(train, valid, test, None, WORDS, ("bleu",), shown)


def plain(caption: str) -> str:
    """A caption in lower case, without punctuation."""
    return " ".join(re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", caption.lower()))


def _thumbnails(folder: Path, count: int) -> UInt8[np.ndarray, "pictures 64 64 3"] | None:
    """All sheets of thumbnails, or None if they are not there."""
    paths = [folder / f"thumbs64_{number}.jpg" for number in range(-(-count // SHEET))]
    if not all(path.is_file() for path in paths):
        return None
    try:
        from PIL import Image
    except ImportError:
        raise DataError("to read thumbnails takes Pillow: pip install 'rnnjax[data]'") from None
    sheets = []
    for path in paths:
        try:
            with Image.open(path) as image:
                sheet = np.asarray(image.convert("RGB"))
            cut = sheet.reshape(TILES, len(sheet) // TILES, TILES, -1, 3)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is not a sheet of thumbnails: {error}") from None
        sheets.append(cut.transpose(0, 2, 1, 3, 4).reshape(SHEET, *cut.shape[1::2], 3))
    return np.concatenate(sheets)[:count]


CAPTIONS: Registry[Callable[[Path | None], PairCorpus]] = Registry(
    "picture set",
    {"shapes": shapes, "flickr8k": flickr8k, "flickr8k-thumbnails": partial(flickr8k, kind="thumbnails")},
)
"""Functions of the data folder; None: the one that the environment variable RNNJAX_DATA names, if it names one."""
