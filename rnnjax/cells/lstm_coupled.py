"""LSTM whose input and forget gates are one."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import GateBias, PointwiseCell, draw_gate_bias, draw_weights, squash_gates
from rnnjax.cells.lstm import LSTMCarry
from rnnjax.initializers import Glorot, Initializer, Orthogonal, Zeros


class CoupledLSTMParams(NamedTuple):
    """Weights of `CoupledLSTM`; gates in the order f, g, o."""

    w_x: Float[Array, "input_size 3*hidden_size"]
    w_h: Float[Array, "hidden_size 3*hidden_size"]
    b: Float[Array, "3*hidden_size"]


@dataclass(frozen=True)
class CoupledLSTM(PointwiseCell[CoupledLSTMParams, LSTMCarry]):
    """LSTM with coupled input and forget gate (CIFG): what is forgotten makes room for what is written.

        f, g, o = logistic, tanh, logistic of x_t w_x + h_(t-1) w_h + b
        c_t = f * c_(t-1) + (1 - f) * g
        h_t = o * tanh(c_t),    y_t = h_t

    Parameters: 3 * (input_size + hidden_size + 1) * hidden_size.

    Source: K. Greff et al., "LSTM: A Search Space Odyssey", 2015 (arXiv:1503.04069), variant CIFG.
    """

    carry_type = LSTMCarry

    hidden_size: int
    forget_bias: GateBias = 1.0
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> CoupledLSTMParams:
        key, key_b = jax.random.split(key)
        w_x, w_h, b = draw_weights(self, key, input_size, 3, dtype)
        forget_bias = draw_gate_bias(self.forget_bias, key_b, self.hidden_size, b.dtype)
        return CoupledLSTMParams(w_x, w_h, b.at[: self.hidden_size].add(forget_bias))

    def pointwise(self, params: CoupledLSTMParams, zx: Array, zh: Array, carry: LSTMCarry) -> LSTMCarry:
        f, g, o = squash_gates(zx + zh, "sts")
        c = g + f * (carry.c - g)
        return LSTMCarry(h=o * jnp.tanh(c), c=c)
