"""The settings of a run, which those of a benchmark inherit."""

import abc
from dataclasses import dataclass

from flax import nnx

from benchmarks.errors import UsageError
from benchmarks.options import Int, check_known, check_least, check_several
from benchmarks.training import Training
from rnnjax import CELLS
from rnnjax.models import BeamSearch, EncoderDecoder


@dataclass(frozen=True)
class WritingConfig(Training, abc.ABC):
    """Settings of the model, the data and the search; those that are not given are of the recipe of the data."""

    data: str = ""
    """Data set."""
    cell: tuple[str, ...] = ("gru",)
    """Cells to train, one model each, by their names in rnnjax.CELLS."""
    hidden_size: Int = 128
    """Hidden units of a layer."""
    embedding_size: Int = 64
    """Features of a token."""
    layers: Int = 1
    """Layers."""
    dropout: float = 0.0
    """Share of the units that dropout sets to zero."""
    min_count: Int = 1
    """Tokens that are rarer than this in the training data are `<unk>`."""
    examples: Int = 0
    """Sources to learn from, the first so many; 0: all."""
    shapes: Int = 1
    """Sizes of batches, for sequences of similar length; 1: all batches are as long as the longest sequence."""
    teacher_forcing: float = 1.0
    """Probability that the input of a step in training is the true token, not one of the model's own."""
    forcing_decay: float = 1.0
    """Factor of --teacher-forcing an epoch: scheduled sampling."""
    width: Int = 1
    """Width of beam search; 1: greedy."""
    penalty: float = 0.0
    """Length penalty of beam search, 0: none."""
    eval_batch_size: Int = 100
    """Sequences that are evaluated together."""

    @abc.abstractmethod
    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""

    def check_writing(self) -> None:
        """`check` of what is here."""
        check_several("--cell", self.cell)
        check_known("--cell", self.cell, CELLS)
        for name in ("hidden-size", "embedding-size", "layers", "min-count", "shapes", "width", "eval-batch-size"):
            check_least(f"--{name}", getattr(self, name.replace("-", "_")), 1)
        check_least("--examples", self.examples, 0)
        self.check_training()
        if not 0 <= self.dropout < 1:
            raise UsageError(f"--dropout must be at least 0 and below 1, got {self.dropout}")
        for name in ("teacher-forcing", "forcing-decay"):
            value = getattr(self, name.replace("-", "_"))
            if not 0 <= value <= 1:
                raise UsageError(f"--{name} must be from 0 to 1, got {value}")
        self.search(1, ())

    def search(self, length: int, never: tuple[int, ...]) -> BeamSearch:
        """Of sequences up to a length."""
        try:
            return BeamSearch(length, self.width, self.penalty, never)
        except ValueError as error:
            raise UsageError(f"--{error}") from None

    @abc.abstractmethod
    def model(self, cell: str, source_size: int | tuple[int, ...], target_size: int) -> EncoderDecoder:
        """The model of a cell, for so many tokens, or pictures of this shape, that are read, and tokens written."""

    @property
    def rngs(self) -> nnx.Rngs:
        """What the weights are drawn from."""
        return nnx.Rngs(self.seed)
