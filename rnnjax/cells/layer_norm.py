"""Elman, LSTM and GRU with layer normalisation right after the linear combination of input and state."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import (
    AffineCell,
    GateBias,
    HiddenCarry,
    PointwiseCell,
    draw_weights,
    matmul,
    raise_second_gate,
    squash_gates,
)
from rnnjax.cells.lstm import LSTMCarry
from rnnjax.initializers import Glorot, Initializer, Orthogonal, Zeros

EPSILON = 1e-5
"""Added to the variance, as in PyTorch's LayerNorm."""


def layer_norm(z: Float[Array, "*batch gates"], gates: int) -> Float[Array, "*batch gates"]:
    """(z - mean) / sqrt(variance + EPSILON), over the units of each gate by itself."""
    blocks = z.reshape(*z.shape[:-1], gates, z.shape[-1] // gates)
    centred = blocks - blocks.mean(-1, keepdims=True)
    return (centred / jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + EPSILON)).reshape(z.shape)


class LayerNormParams(NamedTuple):
    """Weights of `LayerNormElman` and `LayerNormGRU`, with gain and bias of the normalised units."""

    w_x: Float[Array, "input_size gates*hidden_size"]
    w_h: Float[Array, "hidden_size gates*hidden_size"]
    b: Float[Array, "gates*hidden_size"]
    gain: Float[Array, "gates*hidden_size"]


class LayerNormLSTMParams(NamedTuple):
    """Weights of `LayerNormLSTM`; gates in the order i, f, g, o, with gain and bias of the cell state's output too."""

    w_x: Float[Array, "input_size 4*hidden_size"]
    w_h: Float[Array, "hidden_size 4*hidden_size"]
    b: Float[Array, "4*hidden_size"]
    gain: Float[Array, "4*hidden_size"]
    b_c: Float[Array, "hidden_size"]
    gain_c: Float[Array, "hidden_size"]


class _Normalised:
    """The bias comes after the normalisation, so the projected input is the product alone."""

    def project(self, params: Any, xs: Array) -> Array:
        return matmul(xs, params.w_x)


@dataclass(frozen=True)
class LayerNormElman(_Normalised, PointwiseCell[LayerNormParams, HiddenCarry]):
    """Elman network with layer normalisation:

        h_t = tanh(gain * norm(x_t w_x + h_(t-1) w_h) + b),    y_t = h_t
        norm(z) = (z - mean(z)) / sqrt(var(z) + 1e-5)

    Parameters: (input_size + hidden_size + 2) * hidden_size.

    Source: J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016 (arXiv:1607.06450), equation 4.
    """

    hidden_size: int
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> LayerNormParams:
        w_x, w_h, b = draw_weights(self, key, input_size, 1, dtype)
        return LayerNormParams(w_x, w_h, b, jnp.ones_like(b))

    def pointwise(self, params: LayerNormParams, zx: Array, zh: Array, carry: HiddenCarry) -> HiddenCarry:
        return HiddenCarry(jnp.tanh(params.gain * layer_norm(zx + zh, 1) + params.b))


@dataclass(frozen=True)
class LayerNormLSTM(_Normalised, PointwiseCell[LayerNormLSTMParams, LSTMCarry]):
    """LSTM with layer normalisation of each gate and of the cell state's output:

        i, f, g, o = logistic, logistic, tanh, logistic of gain * norm(x_t w_x + h_(t-1) w_h) + b, norm gate by gate
        c_t = f * c_(t-1) + i * g
        h_t = o * tanh(gain_c * norm(c_t) + b_c),    y_t = h_t
        norm(z) = (z - mean(z)) / sqrt(var(z) + 1e-5)

    The cell state itself is not normalised: the additive path stays. Parameters:
    4 * (input_size + hidden_size + 2) * hidden_size + 2 * hidden_size.

    Source: J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016 (arXiv:1607.06450), with one norm of the
    sum instead of one of each product, gate by gate.
    """

    carry_type = LSTMCarry

    hidden_size: int
    forget_bias: GateBias = 1.0
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> LayerNormLSTMParams:
        key, key_b = jax.random.split(key)
        w_x, w_h, b = draw_weights(self, key, input_size, 4, dtype)
        b = raise_second_gate(b, self.forget_bias, key_b, lower_first=True)
        zeros = jnp.zeros(self.hidden_size, b.dtype)
        return LayerNormLSTMParams(w_x, w_h, b, jnp.ones_like(b), zeros, jnp.ones_like(zeros))

    def pointwise(self, params: LayerNormLSTMParams, zx: Array, zh: Array, carry: LSTMCarry) -> LSTMCarry:
        i, f, g, o = squash_gates(params.gain * layer_norm(zx + zh, 4) + params.b, "ssts")
        c = f * carry.c + i * g
        return LSTMCarry(h=o * jnp.tanh(params.gain_c * layer_norm(c, 1) + params.b_c), c=c)


@dataclass(frozen=True)
class LayerNormGRU(_Normalised, AffineCell[LayerNormParams, HiddenCarry]):
    """GRU (reset before the product) with layer normalisation:

        r, z = logistic of gain * norm(x_t w_x + h_(t-1) w_h) + b, norm gate by gate
        n    = tanh(gain_n * norm(x_t w_x_n + (r * h_(t-1)) w_h_n) + b_n)
        h_t  = z * h_(t-1) + (1 - z) * n,    y_t = h_t
        norm(z) = (z - mean(z)) / sqrt(var(z) + 1e-5)

    Each norm is that of one linear combination of input and state. Parameters:
    3 * (input_size + hidden_size + 2) * hidden_size.

    Source: J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016 (arXiv:1607.06450), with one norm of the
    sum instead of one of each product, and the reset gate before the product.
    """

    hidden_size: int
    update_bias: GateBias = 0.0
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> LayerNormParams:
        key, key_b = jax.random.split(key)
        w_x, w_h, b = draw_weights(self, key, input_size, 3, dtype)
        b = raise_second_gate(b, self.update_bias, key_b, gates=3)
        return LayerNormParams(w_x, w_h, b, jnp.ones_like(b))

    def advance(self, params: LayerNormParams, carry: HiddenCarry, z: Array) -> HiddenCarry:
        split = 2 * self.hidden_size

        def normalised(gates: slice, h: Array, count: int) -> Array:
            normed = layer_norm(z[..., gates] + matmul(h, params.w_h[:, gates]), count)
            return params.gain[gates] * normed + params.b[gates]

        r, update = squash_gates(normalised(slice(0, split), carry.h, 2), "ss")
        n = jnp.tanh(normalised(slice(split, None), r * carry.h, 1))
        return HiddenCarry(update * carry.h + (1 - update) * n)
