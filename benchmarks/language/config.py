"""The settings of the language benchmark, and the recipe of each model."""

import dataclasses
import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter
from flax import nnx

from benchmarks.errors import UsageError
from benchmarks.options import SHOWN, Int, check_known, check_least, check_several
from benchmarks.training import Training
from rnnjax import CELLS
from rnnjax.models import LANGUAGE_MODELS, LanguageModel
from rnnjax.tasks.text import CORPORA, UNITS

OPTIONS = {
    "input_dropout": "input_dropout",
    "layer_dropout": "between_dropout",
    "embedding_dropout": "word_dropout",
    "weight_drop": "weight_drop",
    "ar": "activation_penalty",
    "tar": "slowness_penalty",
}
"""Regularisers of every model: the names of their settings, and those that models call them by."""


@dataclass(frozen=True)
class Config(Training):
    """Settings of a run; those that are not given are of the model's recipe."""

    model: Annotated[str, SHOWN] = "char"
    """Model: char, rnnlm, better-rnnlm, zaremba-small, zaremba-medium, zaremba-large, awd."""
    data: Annotated[str, SHOWN] = "python"
    """Text: python (the help texts that come with Python), ptb, tinyshakespeare, wikitext2, or a file."""
    unit: Literal["characters", "words"] = "characters"
    """What a token is."""
    min_count: Int = 1
    """Tokens that are rarer than this in the training text are `<unk>`."""
    cell: tuple[str, ...] = ("lstm",)
    """Cells to train, one model each, by their names in rnnjax.CELLS."""
    hidden_size: Int = 128
    """Hidden units of a layer."""
    layers: Int = 2
    """Layers."""
    dropout: float = 0.0
    """Share of the units that dropout sets to zero."""
    embedding_size: Int | None = None
    """Features of a token: of char (0, its default: one-hot vectors) and awd (400); of others it is --hidden-size."""
    variational: Annotated[bool, Parameter(negative="--no-variational")] = False
    """One dropout mask a sequence instead of one a step."""
    input_dropout: float | None = None
    """Dropout of what the first layer reads; where it is not given, this and those that follow are the model's own."""
    layer_dropout: float | None = None
    """Dropout between layers."""
    embedding_dropout: float | None = None
    """Share of the words that dropout leaves out, of the whole batch."""
    weight_drop: float | None = None
    """Share of the recurrent weights that dropout sets to zero."""
    ar: float | None = None
    """Penalty on the activations of the last layer: AR."""
    tar: float | None = None
    """Penalty on how much they change from step to step: TAR."""
    bptt: Int = 50
    """Steps that gradients go back."""
    random_bptt: Annotated[bool, Parameter(negative="--no-random-bptt")] = False
    """Stretches of random length around --bptt."""
    restart: float = 0.0
    """Share of the sequences that begin anew at every stretch, as evaluation and sampling do."""
    eval_batch_size: Int = 10
    """Parts that the validation and test texts are read in."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        check_known("--model", [self.model], LANGUAGE_MODELS)
        check_several("--cell", self.cell)
        check_known("--cell", self.cell, CELLS)
        if not (self.data in CORPORA or Path(self.data).exists()):
            names = ", ".join(CORPORA)
            raise UsageError(f"--data: {self.data!r} is neither a corpus ({names}) nor a file that exists")
        for name in ("min-count", "hidden-size", "layers", "bptt", "eval-batch-size"):
            check_least(f"--{name}", getattr(self, name.replace("-", "_")), 1)
        self.check_training()
        for name in ("dropout", "input-dropout", "layer-dropout", "embedding-dropout", "weight-drop"):
            rate = getattr(self, name.replace("-", "_"))
            if rate is not None and not 0 <= rate < 1:
                raise UsageError(f"--{name} must be at least 0 and below 1, got {rate}")
        for name, penalty in (("ar", self.ar), ("tar", self.tar)):
            if penalty is not None and not 0 <= penalty < math.inf:
                raise UsageError(f"--{name} must be at least 0, got {penalty}")
        if not 0 <= self.restart <= 1:
            raise UsageError(f"--restart must be from 0 to 1, got {self.restart}")
        self._check_embedding()
        if self.variational and self.model == "awd":
            raise UsageError("--variational has no effect on --model awd, which always is: leave it out")

    def _check_embedding(self) -> None:
        takes = "embedding_size" in inspect.signature(LANGUAGE_MODELS[self.model]).parameters
        if self.embedding_size is not None:
            if not takes:
                raise UsageError(f"--embedding-size has no effect on --model {self.model}: leave it out")
            check_least("--embedding-size", self.embedding_size, 0 if self.model == "char" else 1)
        if self.embedding_dropout and self.model == "char" and not self.embedding_size:
            raise UsageError(
                "--embedding-dropout is of rows of an embedding, and --model char reads one-hot vectors: give "
                "--embedding-size"
            )

    def make_model(self, cell: str, vocabulary_size: int) -> LanguageModel:
        given = {name: getattr(self, option) for option, name in OPTIONS.items()}
        options = {name: value for name, value in given.items() if value is not None}
        if self.variational:
            options["variational"] = True
        if self.embedding_size:
            options["embedding_size"] = self.embedding_size
        return LANGUAGE_MODELS[self.model](
            vocabulary_size,
            cell=cell,
            hidden_size=self.hidden_size,
            layers=self.layers,
            dropout=self.dropout,
            rngs=nnx.Rngs(self.seed),
            **options,
        )

    @property
    def token(self) -> str:
        """What a token is, in the singular."""
        return self.unit.removesuffix("s")

    def units(self, text: str) -> Any:
        """The tokens of a text, as strings."""
        return UNITS[self.unit](text)


WORDS = Config(
    unit="words",
    batch_size=20,
    bptt=35,
    optimizer="sgd",
    learning_rate=20.0,
    max_norm=0.25,
)
"""What the recipes for words share."""


def _words(**settings: Any) -> Config:
    return dataclasses.replace(WORDS, **settings)


RECIPES: dict[str, Config] = {
    # char-rnn itself had RMSprop 2e-3, decay 0.97 after 10 of 50 epochs, batches of 50, values clipped to 5. In three
    # epochs this learns more.
    "char": Config(batch_size=20, learning_rate=4e-3, max_norm=1.0),
    "rnnlm": _words(model="rnnlm", hidden_size=100, layers=1, epochs=4),
    "better-rnnlm": _words(model="better-rnnlm", hidden_size=650, layers=2, dropout=0.5, epochs=40, plateau=0.25),
    # Zaremba et al. sum the loss over the steps of a stretch, here it is a mean: their learning rate is multiplied by
    # the number of steps, and their norm divided by it.
    "zaremba-small": _words(
        model="zaremba-small", hidden_size=200, layers=2, bptt=20, learning_rate=20.0, max_norm=5 / 20, epochs=13,
        decay=0.5, decay_after=4,
    ),
    "zaremba-medium": _words(
        model="zaremba-medium", hidden_size=650, layers=2, dropout=0.5, learning_rate=35.0, max_norm=5 / 35, epochs=39,
        decay=1 / 1.2, decay_after=6,
    ),
    "zaremba-large": _words(
        model="zaremba-large", hidden_size=1500, layers=2, dropout=0.65, learning_rate=35.0, max_norm=10 / 35,
        epochs=55, decay=1 / 1.15, decay_after=14,
    ),
    "awd": _words(
        model="awd", hidden_size=1150, layers=3, dropout=0.4, bptt=70, random_bptt=True, learning_rate=30.0,
        weight_decay=1.2e-6, average_after=5, epochs=500,
    ),
}  # fmt: skip
"""The settings of a model that are not given, by its name."""


class Published(NamedTuple):
    """A value that somebody else reached."""

    perplexity: float
    source: str
    split: str = "test"
    of_recipe: bool = True
    """Reached with the recipe of the model here; else with another model on the same text."""


PUBLISHED: dict[tuple[str, str], Published] = {
    ("rnnlm", "ptb"): Published(136.1, "Deep Learning from Scratch 2"),
    ("better-rnnlm", "ptb"): Published(75.8, "Deep Learning from Scratch 2"),
    ("zaremba-small", "ptb"): Published(114.5, "Zaremba et al. 2014"),
    ("zaremba-medium", "ptb"): Published(82.7, "Zaremba et al. 2014"),
    ("zaremba-large", "ptb"): Published(78.4, "Zaremba et al. 2014"),
    ("awd", "ptb"): Published(57.3, "Merity et al. 2017"),
    ("char", "tinyshakespeare"): Published(math.exp(1.555), "minLSTM, Feng et al. 2024", "validation", False),
}
"""By model and text. All are of LSTMs."""
OURS = ("data", "cell", "seed", "devices", "eval_batch_size")
"""Settings that may be other than in the recipe of a publication."""


def published(config: Config) -> Published | None:
    """What to set beside a run: of whatever cell, if all else is as in the publication."""
    found = PUBLISHED.get((config.model, config.data))
    if found is None or not found.of_recipe:
        return found
    ours = OURS if config.decay < 1 else (*OURS, "decay_after")  # without a decay it says nothing
    wanted = {name: value for name, value in vars(RECIPES[config.model]).items() if name not in ours}
    return found if all(getattr(config, name) == value for name, value in wanted.items()) else None


def recipe(config: Config) -> dict[str, Any]:
    """What options that were not given stand for: the model's recipe, and <unk> for rare words of a text without it."""
    if config.model not in RECIPES:
        return {}
    settings = dataclasses.asdict(RECIPES[config.model]) | {"data": config.data}
    if settings["unit"] == "words" and config.data not in ("ptb", "wikitext2"):
        settings["min_count"] = 2
    return settings
