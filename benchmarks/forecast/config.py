"""The settings of the forecasting benchmark, what they are where a series says so, and the published numbers."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from flax import nnx

from benchmarks.errors import UsageError
from benchmarks.options import SHOWN, Int, check_known, check_least, check_several
from benchmarks.training import Training
from rnnjax.models import FORECASTERS, Forecaster, full_name, make_forecaster
from rnnjax.registry import Registry
from rnnjax.tasks.forecasting import ForecastingData

BASELINES = ("naive", "seasonal-naive", "linear")
KINDS: Registry[Any] = Registry("model", dict.fromkeys(BASELINES) | dict(FORECASTERS))
NETWORKS = ("deep:rnn", "batch-norm:rnn", "deep:rnn-layer-norm", "deep:lstm", "deep:gru", "conv:gru", "wavenet")
Head = Literal["sequence", "vector", "iterated"]


@dataclass(frozen=True)
class Config(Training):
    """Settings of a run; those that are not given are of the series' recipe."""

    series: Annotated[str, SHOWN] = "sunspots"
    """Series: sunspots (it comes with statsmodels), airline, temperature, etth1, exchange, or waves (of a formula)."""
    models: tuple[str, ...] = (*BASELINES, *NETWORKS)
    """Baselines (naive, seasonal-naive, linear) and networks: deep, units, batch-norm, conv, conv-pool, wavenet; with a
    cell of rnnjax.CELLS as in deep:lstm."""
    heads: tuple[Head, ...] = ("sequence",)
    """How networks learn: sequence (a forecast at every step), vector (at the last step alone), iterated (one step
    ahead; its forecasts are read as if seen)."""
    window: Int = 33
    """Steps that are read."""
    horizon: Int = 11
    """Steps that are forecast."""
    seeds: Int = 5
    """Networks of each kind, from --seed on, that are trained side by side."""
    hidden_size: Int = 20
    """Units of a layer, or filters."""
    layers: Int = 2
    """Recurrent layers, or blocks of four convolutions."""
    examples: Int = 10_000
    """Series of `waves`, seven tenths of them to train on."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        check_known("--series", [self.series], RECIPES)
        check_known("--models", [name.partition(":")[0] for name in self.models], KINDS)
        try:
            check_several("--models", self.baselines + tuple(map(full_name, self._others)))
        except ValueError as error:
            raise UsageError(f"--models: {error}") from None
        check_several("--heads", self.heads)
        for name in ("window", "horizon", "seeds", "hidden-size", "layers"):
            check_least(f"--{name}", getattr(self, name.replace("-", "_")), 1)
        check_least("--examples", self.examples, 10)
        self.check_training()

    @property
    def baselines(self) -> tuple[str, ...]:
        return tuple(name for name in self.models if name in BASELINES)

    @property
    def networks(self) -> dict[str, tuple[str, Head]]:
        """Network and head by the name of their folder."""
        pairs = [(full_name(name), head) for name in self._others for head in self.heads]
        return {f"{name}-{head}".replace(":", "-"): (name, head) for name, head in pairs}

    @property
    def _others(self) -> tuple[str, ...]:
        return tuple(name for name in self.models if name not in BASELINES)

    def make_model(self, name: str, head: Head, data: ForecastingData, seed: int) -> Forecaster:
        return make_forecaster(
            name,
            data.variables,
            1 if head == "iterated" else data.horizon,
            outputs=data.outputs,
            hidden_size=self.hidden_size,
            layers=self.layers,
            every_step=head == "sequence",
            rngs=nnx.Rngs(seed),
        )


WITHOUT_SEASON = tuple(name for name in (*BASELINES, *NETWORKS) if name != "seasonal-naive")
RECIPES: Registry[dict[str, Any]] = Registry(
    "series",
    {
        "waves": {
            "models": (*WITHOUT_SEASON, "conv-pool:gru"), "window": 50, "horizon": 10, "epochs": 20, "batch_size": 32,
        },
        "sunspots": {
            "window": 33, "horizon": 11, "epochs": 12, "batch_size": 16, "learning_rate": 3e-3, "max_norm": 1.0,
        },
        "airline": {
            "window": 24, "horizon": 12, "epochs": 20, "batch_size": 16, "learning_rate": 3e-3, "max_norm": 1.0,
        },
        "temperature": {"window": 30, "horizon": 7, "epochs": 10, "batch_size": 32, "max_norm": 1.0},
        "etth1": {"window": 48, "horizon": 24, "epochs": 5, "batch_size": 64, "max_norm": 1.0},
        "exchange": {
            "models": WITHOUT_SEASON, "window": 48, "horizon": 12, "epochs": 10, "batch_size": 64, "max_norm": 1.0,
        },
    },
)  # fmt: skip
"""The settings of a series that are not given; those of `waves` are the book's."""


def recipe(config: Config) -> dict[str, Any]:
    """What options that were not given stand for."""
    return {"series": config.series} | RECIPES[config.series] if config.series in RECIPES else {}


BOOK = "A. Geron, Hands-On Machine Learning, 2nd ed., chapter 15"
PUBLISHED: dict[tuple[int, int, str, str], tuple[str, str]] = {
    (1, 0, "naive", ""): ("0.0202", ""),
    (1, 0, "linear", ""): ("0.00293 (0.0042)", ""),
    (1, 1, "units:rnn", "vector"): ("0.0108-0.0109", ""),
    (1, 3, "units:rnn", "vector"): ("0.0029", ""),
    (1, 2, "deep:rnn", "vector"): ("0.0026-0.0027", ""),
    (10, 0, "naive", ""): ("0.257", ""),
    (10, 0, "linear", ""): ("0.0155 (0.0188)", ""),
    (10, 2, "deep:rnn", "iterated"): ("0.0273-0.0285", ""),
    (10, 2, "deep:rnn", "vector"): ("0.0081-0.0085", ""),
    (10, 2, "deep:rnn", "sequence"): ("0.0078-0.0096", "0.0190-0.0205"),
    (10, 2, "batch-norm:rnn", "sequence"): ("0.016-0.021", "0.029-0.032"),
    (10, 2, "deep:rnn-layer-norm", "sequence"): ("0.012-0.015", "0.025-0.028"),
    (10, 2, "deep:lstm", "sequence"): ("0.0085-0.0086", "0.0238-0.0240"),
    (10, 2, "deep:gru", "sequence"): ("0.0103-0.0111", "0.0238-0.0246"),
    (10, 2, "conv:gru", "sequence"): ("0.0067-0.0081", "0.0173-0.0186"),
    (10, 2, "wavenet", "sequence"): ("0.0072-0.0095", "0.0188-0.0207"),
}
"""Validation MSE in the book, of the last step and of all steps, by horizon, layers, model and head; one seed each,
after the last of 20 epochs, in several editions of its notebook. Computed are the naive forecast of ten steps, where
the book's repeats another value, and least squares. `units:rnn` are SimpleRNN(1), and 20, 20 and 1 units."""
OF_THE_BOOK = (
    f"Book: {BOOK}, after the last of 20 epochs; of the naive forecast and of linear the computed error, in brackets "
    "that of a dense layer trained by Adam. Its networks learned at a rate of 0.001, but a single unit at 0.005, and "
    "deep:rnn sequences at 0.01; a run here has one rate for all of its networks, by default 0.001."
)


def published(config: Any, model: str, head: str) -> tuple[str, str]:
    """The numbers of the book, if a run's settings (as in config.json) are those of the book."""
    wanted = {"series": "waves", "window": 50, "examples": 10_000, "hidden_size": 20, "batch_size": 32}
    same = all(config[name] == value for name, value in wanted.items())
    layers = config["layers"] if head else 0
    return PUBLISHED.get((config["horizon"], layers, model, head), ("", "")) if same else ("", "")
