"""The settings of the speed benchmark."""

import itertools
import re
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from benchmarks.errors import UsageError
from benchmarks.options import Int, check_known, check_least, check_several
from benchmarks.peers import PEERS
from benchmarks.peers.program import SHARED_CELLS
from rnnjax import CELLS
from rnnjax.registry import Registry
from rnnjax.scan import KERNELS

LIBRARIES: Registry[str] = Registry("library", {name: name for name in ("rnnjax", *PEERS)})


class Shape(NamedTuple):
    """The size of the work; there are as many inputs as hidden units."""

    time: int
    batch: int
    hidden: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


def parse_shape(text: str) -> Shape:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text)
    if found is None:
        raise UsageError(f"--shapes: {text!r} is not TIMExBATCHxHIDDEN, such as 100x32x128")
    return Shape(*map(int, found.groups()))


class Column(NamedTuple):
    """What is timed: a library, with settings of `rnnjax.unroll`, on a number of devices."""

    library: str = "rnnjax"
    kernel: str = "auto"
    remat: int | Literal["sqrt"] | None = None
    devices: int = 1

    def __str__(self) -> str:
        kernel = "" if self.kernel == "auto" else f" {self.kernel}"
        remat = "" if self.remat is None else f" remat {self.remat}"
        return self.library + kernel + remat + (f" x{self.devices}" if self.devices > 1 else "")


def parse_remat(text: str) -> int | Literal["sqrt"] | None:
    if text in ("none", "sqrt"):
        return "sqrt" if text == "sqrt" else None
    if not re.fullmatch(r"[1-9]\d*", text):
        raise UsageError(f"--remat: {text!r} is neither none, nor sqrt, nor a number of steps")
    return int(text)


SHAPES = ("100x32x128", "100x64x256", "100x64x512", "1000x32x128", "35x20x650", "200x1x128")
ON_ACCELERATORS = {
    "shapes": ["1024x64x64", "512x256x256", "4096x16x512", "1024x64x1024", *SHAPES],
    "libraries": ["rnnjax", "pytorch", "flax-linen", "jax-cudnn"],
    "kernels": ["scan", "blocked", "fused", "cudnn"],
    "repeats": 5,
    "dtype": "both",
    "budget": 500,
}
"""What is not given on a GPU or TPU: larger shapes and what is written for accelerators, inside ten minutes.

The shapes that matter there come first, should the time be up: one whose weights fit a GPU's multiprocessor in every
cell and precision, then large ones.
"""


@dataclass(frozen=True)
class Config:
    """Settings of a run."""

    cells: tuple[str, ...] = SHARED_CELLS
    """Cells to time, by their names in rnnjax.CELLS; other libraries have rnn, lstm and gru."""
    shapes: tuple[str, ...] = SHAPES
    """Sizes of the work, each TIMExBATCHxHIDDEN, with as many inputs as hidden units."""
    libraries: tuple[str, ...] = tuple(LIBRARIES)
    """Libraries to time, rnnjax among them; the first is what the others are compared with."""
    kernels: tuple[str, ...] = ("auto",)
    """Kernels of rnnjax.unroll to time, each in a column of its own."""
    remat: tuple[str, ...] = ("none",)
    """What rnnjax.unroll computes anew in the backward pass, each in a column of its own: none, sqrt, or the segments
    of a number of steps."""
    devices: tuple[Int, ...] = (1,)
    """Numbers of devices that the batch is spread over, by libraries on JAX, each in columns of its own; a CPU is made
    as many devices as that takes."""
    repeats: Int = 10
    """Samples of each library, taken in turn."""
    dtype: Literal["float32", "bfloat16", "both"] = "float32"
    """Precision of weights and inputs; both: one run after the other, each with a folder of its own."""
    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """Where to run; auto: where JAX runs by default."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        for name in ("cells", "shapes", "libraries", "kernels", "remat", "devices"):
            check_several(f"--{name}", getattr(self, name))
        check_known("--cells", self.cells, CELLS)
        for text in self.shapes:
            parse_shape(text)
        check_known("--libraries", self.libraries, LIBRARIES)
        check_known("--kernels", self.kernels, KERNELS)
        for text in self.remat:
            parse_remat(text)
        for name in ("kernels", "remat"):
            if getattr(self, name) != getattr(Config, name) and "rnnjax" not in self.libraries:
                raise UsageError(f"--{name} has no effect without rnnjax among --libraries: leave it out")
        check_least("--devices", min(self.devices), 1)
        check_least("--repeats", self.repeats, 1)

    @property
    def runs(self) -> "tuple[Config, ...]":
        """One a precision."""
        if self.dtype != "both":
            return (self,)
        return replace(self, dtype="float32"), replace(self, dtype="bfloat16")

    @property
    def sizes(self) -> tuple[Shape, ...]:
        return tuple(parse_shape(text) for text in self.shapes)

    @property
    def columns(self) -> dict[str, Column]:
        """What is timed, by name. PyTorch shares out a batch by itself, over threads."""
        found = []
        for devices, library in itertools.product(self.devices, self.libraries):
            if library == "rnnjax":
                remat = map(parse_remat, self.remat)
                found += [Column(library, *each, devices) for each in itertools.product(self.kernels, remat)]
            elif devices == self.devices[0] or library != "pytorch":
                found.append(Column(library, devices=1 if library == "pytorch" else devices))
        return {str(column): column for column in found}

    def columns_on(self, devices: int) -> tuple[str, ...]:
        """The names of what is compared with each other, in the order of the libraries."""
        found = {name: column for name, column in self.columns.items() if column.devices == devices}
        if "pytorch" in self.columns:
            found["pytorch"] = self.columns["pytorch"]
        return tuple(sorted(found, key=lambda name: self.libraries.index(found[name].library)))
