"""The settings of the classification benchmark, and the recipe of each data set."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from flax import nnx

from benchmarks.errors import UsageError
from benchmarks.options import SHOWN, Int, check_known, check_least, check_several
from benchmarks.training import Training
from rnnjax import CELLS
from rnnjax.models import POOLINGS, Classifier
from rnnjax.tasks.labelled import LABELLED, Labelled


@dataclass(frozen=True)
class Config(Training):
    """Settings of a run; those that are not given are of the data set's recipe."""

    data: Annotated[str, SHOWN] = "japanese-vowels"
    """Data set: japanese-vowels, names (surnames), sst2, rt-polarity, digits (by row), digits-pixels (by pixel)."""
    cell: tuple[str, ...] = ("gru",)
    """Cells to train, by their names in rnnjax.CELLS."""
    seeds: Int = 3
    """Models of each cell, with the seeds from --seed on."""
    hidden_size: Int = 64
    """Hidden units of a layer and direction."""
    layers: Int = 1
    """Layers."""
    directions: Int = 2
    """1: forward in time; 2: forward and backward."""
    pooling: str = "max"
    """What the class is read from: last (the last state), mean or max over time."""
    embedding_size: Int = 0
    """Features of a character or word; 0 for data that has features."""
    dropout: float = 0.5
    """Share of inputs to layers, and of what is pooled, that dropout sets to zero."""
    word_dropout: float = 0.0
    """Share of the rows of the embedding that dropout sets to zero."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        check_known("--data", [self.data], LABELLED)
        check_several("--cell", self.cell)
        check_known("--cell", self.cell, CELLS)
        check_known("--pooling", [self.pooling], POOLINGS)
        for name in ("seeds", "hidden-size", "layers"):
            check_least(f"--{name}", getattr(self, name.replace("-", "_")), 1)
        if self.directions not in (1, 2):
            raise UsageError(f"--directions must be 1 or 2, got {self.directions}")
        for name, rate in (("dropout", self.dropout), ("word-dropout", self.word_dropout)):
            if not 0 <= rate < 1:
                raise UsageError(f"--{name} must be at least 0 and below 1, got {rate}")
        self.check_training()

    def check_inputs(self, data: Labelled) -> None:
        """Tokens have an embedding, features have none."""
        if data.vocabulary is not None:
            check_least("--embedding-size", self.embedding_size, 1)
        elif self.embedding_size or self.word_dropout:
            name = "embedding-size" if self.embedding_size else "word-dropout"
            raise UsageError(f"--{name} is for characters and words, and {self.data} has features: leave it out")

    def make_model(self, cell: str, seed: int, data: Labelled) -> Classifier:
        symbols = data.vocabulary
        return Classifier(
            [CELLS[cell](self.hidden_size)] * self.layers,
            data.train.inputs.shape[-1] if symbols is None else len(symbols),
            len(data.classes),
            embedding_size=self.embedding_size or None,
            bidirectional=self.directions == 2,
            pooling=self.pooling,
            dropout=self.dropout,
            word_dropout=self.word_dropout,
            rngs=nnx.Rngs(seed),
        )

    @property
    def runs(self) -> dict[str, tuple[str, int]]:
        """The cell and the seed of every model, by its name."""
        return {
            f"{cell}-{seed}": (cell, seed) for cell in self.cell for seed in range(self.seed, self.seed + self.seeds)
        }


_REVIEWS = Config(embedding_size=200, pooling="mean", word_dropout=0.2, epochs=6, batch_size=32)
"""Of films."""

RECIPES: dict[str, Config] = {
    "japanese-vowels": Config(data="japanese-vowels", epochs=25, batch_size=18, learning_rate=3e-3),
    "names": Config(
        data="names", embedding_size=32, hidden_size=128, dropout=0.25, epochs=14, batch_size=128, learning_rate=4e-3,
        decay=0.85, decay_after=4,
    ),
    "sst2": dataclasses.replace(_REVIEWS, data="sst2"),
    "rt-polarity": dataclasses.replace(_REVIEWS, data="rt-polarity"),
    "digits": Config(data="digits", hidden_size=128, pooling="last", dropout=0.2, epochs=10),
    "digits-pixels": Config(
        data="digits-pixels", hidden_size=128, directions=1, pooling="last", dropout=0.0, max_norm=1.0, epochs=10,
    ),
}  # fmt: skip
"""The settings of a data set that are not given, by its name."""


def recipe(config: Config) -> dict[str, Any]:
    """What options that were not given stand for: the data set's recipe."""
    return dataclasses.asdict(RECIPES[config.data]) if config.data in RECIPES else {}
