"""Forecasters of series: recurrent networks, with convolutions before them or in their place, and closed forms.

model = make_forecaster("deep:gru", variables=1, horizon=10, rngs=nnx.Rngs(0))
ys = model(xs)                    a forecast of the next 10 values at every step
forecast(model, xs, horizon=10)   that of the last step alone
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jaxtyping import Float

from rnnjax.cells import CELLS
from rnnjax.checks import check_size
from rnnjax.models.recurrent import Recurrent
from rnnjax.registry import Registry

GLOROT = nnx.initializers.glorot_uniform()


# --- closed forms -----------------------------------------------------------------------------------------------------


def naive(
    inputs: Float[np.ndarray, "examples window variables"], horizon: int, outputs: int
) -> Float[np.ndarray, "examples horizon outputs"]:
    """The last value, for all steps to come."""
    return np.repeat(inputs[:, -1:, :outputs], horizon, axis=1)


class LeastSquares(NamedTuple):
    """A linear forecast from all values of a window, each output and each step ahead by itself."""

    w: Float[np.ndarray, "window*variables+1 horizon*outputs"]
    """The last row is the bias."""
    shape: tuple[int, int]
    """Horizon and outputs."""

    @classmethod
    def fit(
        cls,
        inputs: Float[np.ndarray, "examples window variables"],
        targets: Float[np.ndarray, "examples horizon outputs"],
    ) -> "LeastSquares":
        """The weights of the smallest mean squared error, in float64; those of the smallest norm if there are many."""
        w, *_ = np.linalg.lstsq(_rows(inputs), np.float64(targets.reshape(len(targets), -1)))
        return cls(w, targets.shape[1:])

    def __call__(
        self, inputs: Float[np.ndarray, "examples window variables"]
    ) -> Float[np.ndarray, "examples horizon outputs"]:
        return (_rows(inputs) @ self.w).reshape(-1, *self.shape)


def _rows(inputs: np.ndarray) -> np.ndarray:
    flat = inputs.reshape(len(inputs), -1).astype(np.float64)
    return np.concatenate([flat, np.ones_like(flat[:, :1])], 1)


# --- networks ---------------------------------------------------------------------------------------------------------


class Convolution(nnx.Module):
    """A convolution over time in front of a recurrent network, which then takes `stride` times fewer steps:

        y_j = sum over i of x_(t_j - kernel_size + 1 + i) w_i + b,    t_j = T - 1, T - 1 - stride, ...

    With `pool` the convolution itself moves by one step, and y_j is the largest of its `stride` last values, unit by
    unit (Conv1D, then MaxPool1D). There is no padding, and the last output sees the last step: what is left over is
    dropped at the beginning.

    Source: A. Geron, "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", 2nd ed., 2019, chapter 15.
    """

    def __init__(
        self, input_size: int, size: int, *, kernel_size: int, stride: int, pool: bool = False, rngs: nnx.Rngs
    ):
        self.stride = check_size("stride", stride)
        self.reach = check_size("kernel_size", kernel_size) + (stride - 1 if pool else 0)
        self.pool = pool
        self.convolution = nnx.Conv(
            input_size,
            size,
            kernel_size,
            strides=1 if pool else stride,
            padding="VALID",
            kernel_init=GLOROT,
            rngs=rngs,
        )

    def places(self, time: int) -> np.ndarray:
        """The step of the last input that each output sees."""
        if time < self.reach:
            raise ValueError(f"xs has {time} steps, but the convolution takes {self.reach}")
        return np.arange((time - self.reach) % self.stride + self.reach - 1, time, self.stride)

    def __call__(self, xs: Float[Array, "time batch features"]) -> Float[Array, "places batch size"]:
        xs = jnp.swapaxes(xs[(len(xs) - self.reach) % self.stride :], 0, 1)
        ys = self.convolution(xs)
        if self.pool:
            ys = nnx.max_pool(ys, (self.stride,), (self.stride,))
        return jnp.swapaxes(ys, 0, 1)


class CausalConvolution(nnx.Module):
    """A dilated convolution that sees no later step, with a rectifier:

        y_t = max(0, [x_(t - dilation), x_t] w + b),    x = 0 before the first step

    Source: A. van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016 (arXiv:1609.03499), without its
    gates and skip connections, as in A. Geron, "Hands-On Machine Learning", 2nd ed., chapter 15.
    """

    def __init__(self, input_size: int, size: int, *, dilation: int, rngs: nnx.Rngs):
        def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
            return GLOROT(key, (2, input_size, size), dtype).reshape(shape)

        self.dilation = dilation
        self.linear = nnx.Linear(2 * input_size, size, kernel_init=init, rngs=rngs)  # several times as fast as nnx.Conv

    def __call__(self, xs: Float[Array, "time batch features"]) -> Float[Array, "time batch size"]:
        before = jnp.concatenate([jnp.zeros_like(xs[: self.dilation]), xs])[: len(xs)]
        return nnx.relu(self.linear(jnp.concatenate([before, xs], -1)))


class Forecaster(nnx.Module):
    """Layers over time and a linear readout, which forecasts the next `horizon` values:

        ys[t, k] estimates x_(t + 1 + k),    k = 0 ... horizon - 1

    Args:
        layers: of `Recurrent`, `CausalConvolution` and `nnx.BatchNorm`, the lowest first; the outputs of the last one
            are the forecast where there is no readout.
        horizon: steps to forecast.
        outputs: variables to forecast, the first of the inputs.
        size: outputs of the last layer, for the readout; None: there is none.
        front: comes before the layers, and forecasts are then made only where it has an output.
        every_step: forecast at every step (sequence to sequence) or at the last one alone (sequence to vector).
        rngs: draws the readout.
    """

    def __init__(
        self,
        layers: Sequence[nnx.Module],
        horizon: int,
        outputs: int,
        *,
        size: int | None,
        front: Convolution | None = None,
        every_step: bool = True,
        rngs: nnx.Rngs,
    ):
        self.front = nnx.data(front)
        self.layers = nnx.List(layers)
        self.horizon = check_size("horizon", horizon)
        self.outputs = check_size("outputs", outputs)
        self.every_step = every_step
        self.readout = nnx.data(
            None if size is None else nnx.Linear(size, horizon * outputs, kernel_init=GLOROT, rngs=rngs)
        )

    def places(self, window: int) -> np.ndarray:
        """The steps of the inputs at which a forecast is made."""
        places = np.arange(window) if self.front is None else self.front.places(window)
        return places if self.every_step else places[-1:]

    def __call__(self, xs: Float[Array, "time batch variables"]) -> Float[Array, "places batch horizon outputs"]:
        return self.read(self.run(xs if self.front is None else self.front(xs)))

    def run(
        self, xs: Float[Array, "time batch features"], first: int = 0, end: int | None = None
    ) -> Float[Array, "time batch size"]:
        """The layers from number `first` to the one before `end`; None: to the last."""
        for layer in self.layers[first:end]:
            xs = layer(xs)[1] if isinstance(layer, Recurrent) else layer(xs)
        return xs

    def read(self, ys: Float[Array, "time batch size"]) -> Float[Array, "places batch horizon outputs"]:
        """The forecasts, of what the last layer gives."""
        ys = ys if self.every_step else ys[-1:]
        ys = ys if self.readout is None else self.readout(ys)
        return ys.reshape(*ys.shape[:-1], self.horizon, self.outputs)

    def errors(self, stretches: Float[Array, "batch steps variables"], window: int) -> Float[Array, "batch"]:
        """The mean squared error of every example, over all forecasts from its first `window` steps."""
        values = jnp.swapaxes(stretches, 0, 1)
        ahead = self.places(window)[:, None] + 1 + np.arange(self.horizon)
        targets = jnp.swapaxes(values[ahead], 1, 2)[..., : self.outputs]
        return jnp.square(self(values[:window]) - targets).mean((0, 2, 3))


def forecast(
    model: Forecaster, xs: Float[Array, "time batch variables"], horizon: int
) -> Float[Array, "batch horizon outputs"]:
    """What comes after `xs`: the forecast of its last step, or, where the model's own horizon is shorter, forecasts
    that are read as if they had been seen, until there are enough.

    Raises:
        ValueError: a model that would have to read what it does not forecast.
    """
    calls = -(-check_size("horizon", horizon) // model.horizon)
    if calls > 1 and model.outputs < xs.shape[-1]:
        raise ValueError(
            f"a forecast of {horizon} steps, {model.horizon} at a time, reads its own: the model has to forecast all "
            f"{xs.shape[-1]} variables, and forecasts {model.outputs}"
        )

    def step(window: Array, _: None) -> tuple[Array, Array]:
        ys = jnp.swapaxes(model(window)[-1], 0, 1)
        return jnp.concatenate([window, ys])[-len(window) :] if calls > 1 else window, ys

    _, ys = lax.scan(step, xs, None, length=calls)
    return jnp.swapaxes(ys.reshape(-1, *ys.shape[2:])[:horizon], 0, 1)


# --- models by name ---------------------------------------------------------------------------------------------------


class Sizes(NamedTuple):
    """What a network is made for."""

    variables: int
    values: int
    """Of one forecast: horizon * outputs."""
    hidden_size: int
    layers: int


class Body(NamedTuple):
    """What a network has before its readout."""

    layers: Sequence[nnx.Module]
    size: int | None
    """Outputs for the readout; None: there is none."""
    front: Convolution | None = None


def deep(cell: Callable[..., Any], sizes: Sizes, rngs: nnx.Rngs) -> Body:
    """Recurrent layers, one on the other."""
    layers = recurrent(cell, sizes.variables, sizes.layers * [sizes.hidden_size], rngs)
    return Body(layers, layers[-1].cell.output_size)


def units(cell: Callable[..., Any], sizes: Sizes, rngs: nnx.Rngs) -> Body:
    """The same without a readout: the last layer has as many units as a forecast has values."""
    hidden = [*(sizes.layers - 1) * [sizes.hidden_size], sizes.values]
    layers = recurrent(cell, sizes.variables, hidden, rngs)
    last = layers[-1].cell
    if last.output_size != sizes.values:
        raise ValueError(
            f"a forecast of {sizes.values} values without a readout needs a cell with as many outputs as units, and "
            f"{type(last).__name__} of {sizes.values} units has {last.output_size}: take deep"
        )
    return Body(layers, None)


def batch_norm(cell: Callable[..., Any], sizes: Sizes, rngs: nnx.Rngs) -> Body:
    """Recurrent layers, each with batch normalisation of its outputs over examples and steps."""
    layers: list[nnx.Module] = []
    below = recurrent(cell, sizes.variables, sizes.layers * [sizes.hidden_size], rngs)
    for layer in below:
        layers += [layer, nnx.BatchNorm(layer.cell.output_size, momentum=0.99, epsilon=1e-3, rngs=rngs)]
    return Body(layers, below[-1].cell.output_size)


def conv(cell: Callable[..., Any], sizes: Sizes, rngs: nnx.Rngs, pool: bool = False) -> Body:
    """Recurrent layers behind a convolution over 4 steps that takes every second one, with `pool` by max-pooling."""
    front = Convolution(sizes.variables, sizes.hidden_size, kernel_size=4, stride=2, pool=pool, rngs=rngs)
    behind = sizes._replace(variables=sizes.hidden_size)
    return deep(cell, behind, rngs)._replace(front=front)


def conv_pool(cell: Callable[..., Any], sizes: Sizes, rngs: nnx.Rngs) -> Body:
    """The same with Conv1D and MaxPool1D."""
    return conv(cell, sizes, rngs, pool=True)


def wavenet(cell: None, sizes: Sizes, rngs: nnx.Rngs) -> Body:
    """`layers` blocks of dilated causal convolutions, 1, 2, 4 and 8 steps, in place of a recurrent network."""
    sources = [sizes.variables, *(4 * sizes.layers - 1) * [sizes.hidden_size]]
    dilations = sizes.layers * (1, 2, 4, 8)
    layers = [
        CausalConvolution(source, sizes.hidden_size, dilation=dilation, rngs=rngs)
        for source, dilation in zip(sources, dilations, strict=True)
    ]
    return Body(layers, sizes.hidden_size)


def recurrent(cell: Callable[..., Any], input_size: int, hidden: Sequence[int], rngs: nnx.Rngs) -> list[Recurrent]:
    """Layers of these hidden sizes."""
    layers: list[Recurrent] = []
    for size in hidden:
        layers.append(Recurrent(cell(hidden_size=size), input_size, rngs=rngs))
        input_size = layers[-1].cell.output_size
    return layers


class Design(NamedTuple):
    """A kind of network."""

    make: Callable[[Any, Sizes, nnx.Rngs], Body]
    cell: str | None
    """The cell if none is named; None: it has no cells."""


FORECASTERS: Registry[Design] = Registry(
    "forecaster",
    {
        "deep": Design(deep, "rnn"),
        "units": Design(units, "rnn"),
        "batch-norm": Design(batch_norm, "rnn"),
        "conv": Design(conv, "gru"),
        "conv-pool": Design(conv_pool, "gru"),
        "wavenet": Design(wavenet, None),
    },
)
"""Kinds of networks. A forecaster's name is that of its kind, or KIND:CELL with the name of a cell of `CELLS`."""


def full_name(name: str) -> str:
    """The name of a forecaster with its cell: "conv" is "conv:gru".

    Raises:
        ValueError: no such kind or cell, or a cell where there are none.
    """
    kind, _, cell = name.partition(":")
    default = FORECASTERS[kind].cell
    if default is None:
        if cell:
            raise ValueError(f"{kind} has no cells: leave out :{cell}")
        return kind
    cell = cell or default
    CELLS[cell]  # an unknown one is an error here
    return f"{kind}:{cell}"


def make_forecaster(
    name: str,
    variables: int,
    horizon: int,
    *,
    outputs: int | None = None,
    hidden_size: int = 20,
    layers: int = 2,
    every_step: bool = True,
    rngs: nnx.Rngs,
) -> Forecaster:
    """A forecaster by its name, such as "deep:lstm" or "wavenet".

    Args:
        name: of `FORECASTERS`, with or without a cell.
        variables: of the inputs.
        horizon: steps to forecast.
        outputs: how many of the variables to forecast, the first ones; None: all.
        hidden_size: units of every layer, or filters.
        layers: recurrent layers, or blocks of four convolutions.
        every_step: see `Forecaster`.
        rngs: draws the parameters.

    Raises:
        ValueError: an unknown name, a size that is not positive.
    """
    kind, _, cell = full_name(name).partition(":")
    outputs = variables if outputs is None else check_size("outputs", outputs)
    if outputs > variables:
        raise ValueError(f"outputs must be at most {variables}, the variables of the inputs, got {outputs}")
    sizes = Sizes(
        check_size("variables", variables),
        check_size("horizon", horizon) * outputs,
        check_size("hidden_size", hidden_size),
        check_size("layers", layers),
    )
    body = FORECASTERS[kind].make(CELLS[cell] if cell else None, sizes, rngs)
    return Forecaster(body.layers, horizon, outputs, size=body.size, front=body.front, every_step=every_step, rngs=rngs)
