"""LSTM over space, with convolutions instead of products."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from rnnjax.cells.around import Around
from rnnjax.cells.base import (
    Cell,
    GateBias,
    SizedCell,
    carry_dtype,
    draw_gates,
    raise_second_gate,
    squash_gates,
)
from rnnjax.cells.lstm import LSTMCarry
from rnnjax.checks import check_floating, check_size
from rnnjax.initializers import Glorot, Initializer, Orthogonal, Zeros


class ConvLSTMParams(NamedTuple):
    """Weights of `ConvLSTM`; gates in the order i, f, g, o."""

    w_x: Float[Array, "*kernel_size input_size 4*hidden_size"]
    w_h: Float[Array, "*kernel_size hidden_size 4*hidden_size"]
    b: Float[Array, "4*hidden_size"]


@dataclass(frozen=True)
class ConvLSTM(SizedCell[ConvLSTMParams, LSTMCarry]):
    """LSTM over 1, 2 or 3 axes of space, whose products are convolutions (conv, with zeros around the border):

        i, f, g, o = logistic, logistic, tanh, logistic of conv(x_t, w_x) + conv(h_(t-1), w_h) + b
        c_t = f * c_(t-1) + i * g
        h_t = o * tanh(c_t),    y_t = h_t

    Inputs are `[time, batch, *spatial_shape, input_size]`, with the channels last; carry and outputs are
    `[*batch, *spatial_shape, hidden_size]`. `kernel_size` is one number for all axes, or one for each. The parameters
    do not depend on the shape of space. `SpatialBroadcast(ConvLSTM(...))` takes vectors; the registered name stands for
    one on a line of 3 positions. Parameters: 4 * (prod(kernel_size) * (input_size + hidden_size) + 1) * hidden_size.

    Source: X. Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting", 2015
    (arXiv:1506.04214), equation 3, without its peepholes, as in Keras and flax.
    """

    hidden_size: int
    spatial_shape: tuple[int, ...]
    kernel_size: int | tuple[int, ...] = 3
    forget_bias: GateBias = 1.0
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.spatial_shape, tuple) or not 1 <= len(self.spatial_shape) <= 3:
            raise ValueError(f"spatial_shape must be a tuple of 1 to 3 sizes, got {self.spatial_shape!r}")
        axes = len(self.spatial_shape)
        sizes = self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,) * axes
        if len(sizes) != axes:
            raise ValueError(f"kernel_size must be one number, or one for each of {axes} axes, got {self.kernel_size}")
        for name, values in (("spatial_shape", self.spatial_shape), ("kernel_size", sizes)):
            object.__setattr__(self, name, tuple(check_size(name, value) for value in values))

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> ConvLSTMParams:
        input_size = check_size("input_size", input_size)
        check_floating("dtype", dtype)
        key_x, key_h, key_b, key_f = jax.random.split(key, 4)
        kernel = cast(tuple[int, ...], self.kernel_size)

        def draw(init: Initializer, key: Array, inputs: int) -> Array:
            """One matrix a gate, from all that a position sees."""
            matrix = draw_gates(init, key, (math.prod(kernel) * inputs, self.hidden_size), 4, dtype)
            return matrix.reshape(*kernel, inputs, 4 * self.hidden_size)

        b = draw_gates(self.bias_init, key_b, (self.hidden_size,), 4, dtype)
        return ConvLSTMParams(
            draw(self.input_init, key_x, input_size),
            draw(self.recurrent_init, key_h, self.hidden_size),
            raise_second_gate(b, self.forget_bias, key_f, lower_first=True),
        )

    def initial_carry(self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> LSTMCarry:
        zeros = jnp.zeros((*batch_shape, *self.feature_shape(self.hidden_size)), carry_dtype(dtype))
        return LSTMCarry(zeros, zeros)

    def input_size(self, params: ConvLSTMParams) -> int:
        return params.w_x.shape[-2]

    def feature_shape(self, size: int) -> tuple[int, ...]:
        return (*self.spatial_shape, size)

    def project(self, params: ConvLSTMParams, xs: Float[Array, "*batch_and_space channels"]) -> Array:
        return convolve(xs, params.w_x) + params.b

    def advance(self, params: ConvLSTMParams, carry: LSTMCarry, z: Array) -> LSTMCarry:
        i, f, g, o = squash_gates(z + convolve(carry.h, params.w_h), "ssts")
        c = f * carry.c + i * g
        return LSTMCarry(h=o * jnp.tanh(c), c=c)


def convolve(x: Float[Array, "*batch_and_space inputs"], w: Float[Array, "*kernel inputs outputs"]) -> Array:
    """Cross-correlation over space with zeros around the border, accumulated in float32 or wider.

    A float32 carry meets half-precision weights in their precision.
    """
    axes = w.ndim - 2
    if jnp.finfo(w.dtype).bits < 32 and x.dtype == jnp.float32:
        x = x.astype(w.dtype)
    wide = carry_dtype(jnp.promote_types(x.dtype, w.dtype))
    leading, inner = x.shape[: x.ndim - axes - 1], x.shape[x.ndim - axes - 1 :]
    space = "DHW"[3 - axes :]
    # Products of half-precision numbers are exact in float32: widening first changes nothing but the gradient's type.
    y = lax.conv_general_dilated(
        x.reshape(-1, *inner).astype(wide),
        w.astype(wide),
        window_strides=(1,) * axes,
        padding="SAME",
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
    )
    return y.reshape(*leading, *y.shape[1:])


@dataclass(frozen=True)
class SpatialBroadcast(Around[Any, Any]):
    """A cell over space on vectors, such as `ConvLSTM`:

        carry_t, Y_t = step(params, carry_(t-1), X_t) with X_t = x_t at every position,    y_t = all of Y_t in one axis

    Positions differ by how far the border is. So a cell over space takes part wherever vectors come in and go out.

    Source: N. Watters et al., "Spatial Broadcast Decoder", 2019 (arXiv:1901.07017), for the inputs.
    """

    cell: Cell[Any, Any]

    @property
    def output_size(self) -> int:
        return math.prod(self.cell.feature_shape(self.cell.output_size))

    def feature_shape(self, size: int) -> tuple[int, ...]:
        return (size,)

    def project_with(self, params: Any, xs: Array, noise: Any) -> Any:
        *leading, size = xs.shape
        space = self.cell.feature_shape(size)
        spread = jnp.broadcast_to(xs.reshape(*leading, *(1 for _ in space[1:]), size), (*leading, *space))
        return self.cell.project_with(params, spread, noise)

    def advance(self, params: Any, carry: Any, z: Any) -> Any:
        return self.cell.advance(params, carry, z)

    def output(self, params: Any, carry: Any, z: Any) -> Array:
        ys = self.cell.output(params, carry, z)
        return ys.reshape(*self.cell.leading_shape(ys), self.output_size)


def conv_lstm_on_vectors(hidden_size: int, forget_bias: GateBias = 1.0) -> SpatialBroadcast:
    """A `ConvLSTM` on a line of 3 positions, for the registry, whose cells take vectors."""
    return SpatialBroadcast(ConvLSTM(hidden_size, spatial_shape=(3,), forget_bias=forget_bias))
