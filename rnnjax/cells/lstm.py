"""Long short-term memory."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import GateBias, PointwiseCell, draw_weights, raise_second_gate, squash_gates
from rnnjax.initializers import Glorot, Initializer, Orthogonal, Zeros


class LSTMParams(NamedTuple):
    """Weights of `LSTM`; gates in the order i, f, g, o."""

    w_x: Float[Array, "input_size 4*hidden_size"]
    w_h: Float[Array, "hidden_size 4*hidden_size"]
    b: Float[Array, "4*hidden_size"]


class LSTMCarry(NamedTuple):
    """Hidden state `h` and cell state `c` of `LSTM`."""

    h: Float[Array, "*batch hidden_size"]
    c: Float[Array, "*batch hidden_size"]


@dataclass(frozen=True)
class LSTM(PointwiseCell[LSTMParams, LSTMCarry]):
    """LSTM with forget gate:

        i, f, g, o = logistic, logistic, tanh, logistic of x_t w_x + h_(t-1) w_h + b
        c_t = f * c_(t-1) + i * g
        h_t = o * tanh(c_t),    y_t = h_t

    `forget_bias` is added to the drawn bias of f: 1 as in Jozefowicz et al. 2015, section 2.2, or
    `initializers.Chrono(max_lag)`, whose negative goes to the bias of i. Parameters:
    4 * (input_size + hidden_size + 1) * hidden_size.

    Source: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997; forget gate:
    F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget", Neural Computation 12(10), 2000.
    """

    carry_type = LSTMCarry

    hidden_size: int
    forget_bias: GateBias = 1.0
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> LSTMParams:
        w_x, w_h, b = draw_weights(self, key, input_size, 4, dtype)
        return LSTMParams(
            w_x, w_h, raise_second_gate(b, self.forget_bias, jax.random.fold_in(key, 1), lower_first=True)
        )

    def pointwise(self, params: LSTMParams, zx: Array, zh: Array, carry: LSTMCarry) -> LSTMCarry:
        i, f, g, o = squash_gates(zx + zh, "ssts")
        c = f * carry.c + i * g
        return LSTMCarry(h=o * jnp.tanh(c), c=c)
