"""The settings of the speed benchmark."""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from benchmarks.errors import UsageError
from benchmarks.options import Int, check_known, check_least, check_several
from benchmarks.peers import PEERS
from rnnjax.registry import Registry
from rnnjax.scan import KERNELS

CELLS: Registry[str] = Registry("cell of this benchmark", {name: name for name in ("rnn", "lstm", "gru")})
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


@dataclass(frozen=True)
class Config:
    """Settings of a run."""

    cells: tuple[str, ...] = ("rnn", "lstm", "gru")
    """Cells to time: rnn, lstm, gru."""
    shapes: tuple[str, ...] = ("100x32x128", "100x64x256", "100x64x512", "1000x32x128", "35x20x650", "200x1x128")
    """Sizes of the work, each TIMExBATCHxHIDDEN, with as many inputs as hidden units."""
    libraries: tuple[str, ...] = tuple(LIBRARIES)
    """Libraries to time, rnnjax among them; the first is what the others are compared with."""
    kernels: tuple[str, ...] = ("auto",)
    """Kernels of rnnjax.unroll to time, each in a column of its own."""
    repeats: Int = 10
    """Samples of each library, taken in turn."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of weights and inputs."""
    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """Where to run; auto: where JAX runs by default."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        for name in ("cells", "shapes", "libraries", "kernels"):
            check_several(f"--{name}", getattr(self, name))
        check_known("--cells", self.cells, CELLS)
        for text in self.shapes:
            parse_shape(text)
        check_known("--libraries", self.libraries, LIBRARIES)
        check_known("--kernels", self.kernels, KERNELS)
        if self.kernels != Config.kernels and "rnnjax" not in self.libraries:
            raise UsageError("--kernels has no effect without rnnjax among --libraries: leave it out")
        check_least("--repeats", self.repeats, 1)

    @property
    def sizes(self) -> tuple[Shape, ...]:
        return tuple(parse_shape(text) for text in self.shapes)

    @property
    def columns(self) -> dict[str, tuple[str, str]]:
        """Names of what is timed, each with its library and, for rnnjax, its kernel."""
        found = {}
        for library in self.libraries:
            for kernel in self.kernels if library == "rnnjax" else ("auto",):
                found[library if kernel == "auto" else f"{library} {kernel}"] = (library, kernel)
        return found
