"""Series to forecast: waves of a formula, and real ones from a data folder, their public addresses or a package.

data = cut(SERIES["sunspots"](data_dir), window=33, horizon=11)      or waves(window=50, horizon=10)
data.train.stretches                                                 [examples, window + horizon, variables], scaled

A stretch is `window` steps that a forecaster reads, and the `horizon` steps that it is to forecast.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rnnjax.checks import check_size
from rnnjax.registry import Registry
from rnnjax.tasks.text import DataError, Source, fetch, read_text


class Split(NamedTuple):
    """The examples of a split, in the order of time."""

    stretches: Float[np.ndarray, "examples steps variables"]
    """`window + horizon` steps of every example, scaled."""
    seasonal: Float[np.ndarray, "examples horizon outputs"] | None
    """The seasonal naive forecast: what was there one season before, or the last season again and again; scaled."""


class ForecastingData(NamedTuple):
    """What forecasters learn from and are measured on."""

    train: Split
    valid: Split
    test: Split
    window: int
    horizon: int
    mean: Float[np.ndarray, "outputs"]
    """Of the training split, in the units of the series: a value is mean + scale * (scaled value)."""
    scale: Float[np.ndarray, "outputs"]

    @property
    def variables(self) -> int:
        """Variables that a forecaster reads."""
        return self.train.stretches.shape[-1]

    @property
    def outputs(self) -> int:
        """Variables that it forecasts: the first ones."""
        return len(self.scale)

    def inputs(self, split: Split) -> Float[np.ndarray, "examples window variables"]:
        """What is read."""
        return split.stretches[:, : self.window]

    def targets(self, split: Split) -> Float[np.ndarray, "examples horizon outputs"]:
        """What is to be forecast."""
        return split.stretches[:, self.window :, : self.outputs]


# --- waves ------------------------------------------------------------------------------------------------------------


def generate_waves(random: np.random.RandomState, count: int, steps: int) -> Float[np.ndarray, "count steps 1"]:
    """Two sine waves of random frequencies and offsets with noise, for times t from 0 to 1:

        x(t) = 0.5 sin((t - o1)(10 f1 + 10)) + 0.2 sin((t - o2)(20 f2 + 20)) + 0.1 (u(t) - 0.5)

    f1, f2, o1, o2 and u(t) are drawn from U[0, 1), in this order. No forecast of one step has an expected squared error
    below 0.1^2 / 12 = 8.33e-4.

    Source: A. Geron, "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", 2nd ed., 2019, chapter 15,
    whose series these are, bit for bit, with `RandomState(42)`.
    """
    frequency_1, frequency_2, offset_1, offset_2 = random.rand(4, count, 1)
    times = np.linspace(0, 1, steps)
    series = 0.5 * np.sin((times - offset_1) * (frequency_1 * 10 + 10))
    series += 0.2 * np.sin((times - offset_2) * (frequency_2 * 20 + 20))
    series += 0.1 * (random.rand(count, steps) - 0.5)
    return series[..., np.newaxis].astype(np.float32)


def waves(window: int = 50, horizon: int = 10, count: int = 10_000) -> ForecastingData:
    """`generate_waves` of seed 42: seven tenths to train on, two to validate, one to test; not scaled, as in the book.

    Raises:
        ValueError: sizes that are not positive, fewer than ten series.
    """
    check_size("window", window)
    check_size("horizon", horizon)
    check_size("count", count, 10)
    series = generate_waves(np.random.RandomState(42), count, window + horizon)
    train, valid, test = (Split(part, None) for part in np.split(series, [7 * count // 10, 9 * count // 10]))
    return ForecastingData(train, valid, test, window, horizon, np.zeros(1), np.ones(1))


# --- real series ------------------------------------------------------------------------------------------------------


class Series(NamedTuple):
    """A series in the order of time."""

    values: Float[np.ndarray, "time variables"]
    """In its own units; the variables to forecast come first."""
    outputs: int
    """How many variables are to be forecast."""
    season: int | None
    """Steps of a season, if there are seasons."""
    borders: tuple[int, int, int]
    """Where the training, the validation and the test split end."""


AIRLINE = Source(
    "timeseries/airline-passengers.csv",
    "https://raw.githubusercontent.com/jbrownlee/Datasets/master/airline-passengers.csv",
    "8cb51be753a718d9be5d76d7e238cc224792754676adc21faa59e954b0201621",
)
TEMPERATURE = Source(
    "timeseries/daily-min-temperatures.csv",
    "https://raw.githubusercontent.com/jbrownlee/Datasets/master/daily-min-temperatures.csv",
    "8b9de63ed6789492bf497625e7f9beb96a63d367b4b0a21754006f749fa5e5da",
)
ETTH1 = Source(
    "ett/ETTh1.csv",
    "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv",
    "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
)
EXCHANGE = Source(
    "timeseries/exchange_rate.txt.gz",
    "https://raw.githubusercontent.com/laiguokun/multivariate-time-series-data/master/exchange_rate/exchange_rate.txt.gz",
    "6a4fbb561dcdee43f071a83badbeec9223a335552278348656738b556f1c2e9d",
)


def sunspots(data_dir: Path | None = None) -> Series:
    """Sunspots a year from 1700 to 2008, which the package statsmodels holds; its cycle takes about 11 years."""
    try:
        from statsmodels.datasets import sunspots
    except ImportError:
        raise DataError("the sunspots are in the package statsmodels: pip install 'rnnjax[data]'") from None
    values = sunspots.load_pandas().data["SUNACTIVITY"].to_numpy(np.float64)
    return Series(values[:, None], 1, 11, in_shares(len(values)))


def of_table(
    source: Source,
    columns: tuple[int, ...],
    data_dir: Path | None = None,
    *,
    outputs: int = 1,
    season: int | None = None,
    borders: tuple[int, int, int] | None = None,
    heading: bool = True,
) -> Series:
    """A series in a table of comma-separated values, one line a step; `borders` by `in_shares` if they are None."""
    path = fetch(source, data_dir)
    try:
        values = np.loadtxt(
            io.StringIO(read_text(path)), delimiter=",", skiprows=int(heading), usecols=columns, ndmin=2, quotechar='"'
        )
    except ValueError as error:
        raise DataError(f"{path} is not a table of numbers as expected: {error}") from None
    return Series(values, outputs, season, borders or in_shares(len(values)))


def in_shares(length: int) -> tuple[int, int, int]:
    """Borders in time: 60 % to train on, 20 % to validate, 20 % to test."""
    return 6 * length // 10, 8 * length // 10, length


SERIES: Registry[Callable[[Path | None], Series]] = Registry(
    "series",
    {
        "sunspots": sunspots,
        "airline": partial(of_table, AIRLINE, (1,), season=12),
        "temperature": partial(of_table, TEMPERATURE, (1,), season=365),
        "etth1": partial(of_table, ETTH1, (7, *range(1, 7)), season=24, borders=(8640, 11520, 14400)),
        "exchange": partial(of_table, EXCHANGE, tuple(range(8)), outputs=8, heading=False),
    },
)
"""Functions of the data folder; None: the one that the environment variable RNNJAX_DATA names, if it names one.

sunspots: yearly, 1700-2008. airline: passengers a month in thousands, 1949-1960. temperature: the daily minimum in
Melbourne, 1981-1990. etth1: the oil temperature of a transformer by the hour, read together with six loads (H. Zhou et
al., "Informer", 2021, with its splits of 12, 4 and 4 months). exchange: the daily rates of eight currencies, 1990-2016
(G. Lai et al., "Modeling Long- and Short-Term Temporal Patterns with Deep Neural Networks", 2018, with its splits).
"""


def cut(series: Series, window: int, horizon: int) -> ForecastingData:
    """A series cut into overlapping stretches, one a step, and scaled.

    Every variable is scaled to mean 0 and variance 1 of the training split, of which alone mean and variance are taken.
    What is to be forecast lies in one split; what is read before it may lie in the one before.

    Raises:
        ValueError: a split too short for a stretch, a training split shorter than a season, a variable that is
            constant there.
    """
    check_size("window", window)
    check_size("horizon", horizon)
    first = series.borders[0]
    mean, scale = series.values[:first].mean(0), series.values[:first].std(0)
    if not (scale > 0).all():
        raise ValueError(f"variable {int(np.argmin(scale))} of the series is constant in the training split")
    if series.season is not None and first < series.season:
        raise ValueError(f"a training split of {first} steps is shorter than a season of {series.season}")
    scaled = ((series.values - mean) / scale).astype(np.float32)
    starts = window, *series.borders[:2]
    splits = []
    for name, start, end in zip(("training", "validation", "test"), starts, series.borders, strict=True):
        origins = np.arange(max(start, window), end - horizon + 1)  # of the first step to forecast
        if not len(origins):
            raise ValueError(
                f"the {name} split, steps {start} to {end}, is too short for a window of {window} and a horizon of "
                f"{horizon}"
            )
        stretches = scaled[origins[:, None] + np.arange(-window, horizon)]
        seasonal = None
        if series.season is not None and name != "training":
            ahead = np.arange(horizon) % series.season - series.season
            seasonal = scaled[origins[:, None] + ahead, : series.outputs]
        splits.append(Split(stretches, seasonal))
    train, valid, test = splits
    return ForecastingData(train, valid, test, window, horizon, mean[: series.outputs], scale[: series.outputs])
