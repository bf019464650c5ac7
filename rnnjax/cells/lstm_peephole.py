"""LSTM whose gates see the cell state."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import GateBias, PointwiseCell, draw_gates, draw_weights, raise_second_gate, squash_gates
from rnnjax.cells.lstm import LSTMCarry
from rnnjax.initializers import Glorot, Initializer, Orthogonal, Zeros


class PeepholeLSTMParams(NamedTuple):
    """Weights of `PeepholeLSTM`; gates in the order i, f, g, o, peepholes in the order i, f, o."""

    w_x: Float[Array, "input_size 4*hidden_size"]
    w_h: Float[Array, "hidden_size 4*hidden_size"]
    b: Float[Array, "4*hidden_size"]
    peephole: Float[Array, "3*hidden_size"]


@dataclass(frozen=True)
class PeepholeLSTM(PointwiseCell[PeepholeLSTMParams, LSTMCarry]):
    """LSTM with peephole connections from the cell state to its own gates:

        z    = x_t w_x + h_(t-1) w_h + b
        i, f = logistic(z_i + p_i * c_(t-1)), logistic(z_f + p_f * c_(t-1))
        c_t  = f * c_(t-1) + i * tanh(z_g)
        o    = logistic(z_o + p_o * c_t)
        h_t  = o * tanh(c_t),    y_t = h_t

    The output gate sees the new cell state. Parameters: (4 * (input_size + hidden_size + 1) + 3) * hidden_size.

    Source: F. A. Gers, N. N. Schraudolph, J. Schmidhuber, "Learning Precise Timing with LSTM Recurrent Networks", JMLR
    3, 2002, section 3, with the tanh of later work.
    """

    carry_type = LSTMCarry

    hidden_size: int
    forget_bias: GateBias = 1.0
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()
    peephole_init: Initializer = Zeros()

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> PeepholeLSTMParams:
        key, key_b, key_p = jax.random.split(key, 3)
        w_x, w_h, b = draw_weights(self, key, input_size, 4, dtype)
        peephole = draw_gates(self.peephole_init, key_p, (self.hidden_size,), 3, dtype)
        return PeepholeLSTMParams(w_x, w_h, raise_second_gate(b, self.forget_bias, key_b, lower_first=True), peephole)

    def pointwise(self, params: PeepholeLSTMParams, zx: Array, zh: Array, carry: LSTMCarry) -> LSTMCarry:
        z_i, z_f, z_g, z_o = jnp.split(zx + zh, 4, axis=-1)
        p_i, p_f, p_o = jnp.split(params.peephole, 3)
        gates = jnp.concatenate([z_i + p_i * carry.c, z_f + p_f * carry.c, z_g], axis=-1)
        i, f, g = squash_gates(gates, "sst")
        c = f * carry.c + i * g
        (o,) = squash_gates(z_o + p_o * c, "s")
        return LSTMCarry(h=o * jnp.tanh(c), c=c)
