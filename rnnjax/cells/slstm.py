"""LSTM with exponential gating."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import GateBias, PointwiseCell, draw_weights, raise_second_gate, squash_gates
from rnnjax.cells.lstm import LSTMParams
from rnnjax.initializers import Glorot, Initializer, Orthogonal, Zeros

LARGEST = 80.0
"""What the exponent of the forget gate is capped at: it is positive only while n = 0, and then multiplies zero."""


class SLSTMCarry(NamedTuple):
    """Hidden state `h`, cell state `c`, normaliser `n` and stabiliser `m` of `SLSTM`."""

    h: Float[Array, "*batch hidden_size"]
    c: Float[Array, "*batch hidden_size"]
    n: Float[Array, "*batch hidden_size"]
    m: Float[Array, "*batch hidden_size"]


@dataclass(frozen=True)
class SLSTM(PointwiseCell[LSTMParams, SLSTMCarry]):
    """sLSTM, with exponential input gate, normaliser and stabiliser state:

        i, f, g, o = exp, logistic, tanh, logistic of x_t w_x + h_(t-1) w_h + b
        c_t = f * c_(t-1) + i * g,    n_t = f * n_(t-1) + i,    h_t = o * c_t / n_t,    y_t = h_t

    c and n are kept divided by exp(m_t), with m_t = max(ln f + m_(t-1), ln i), or ln i while nothing is stored (n = 0):
    no exponential overflows, and h does not depend on m. One head: all units are mixed. Parameters:
    4 * (input_size + hidden_size + 1) * hidden_size.

    Source: M. Beck et al., "xLSTM: Extended Long Short-Term Memory", 2024 (arXiv:2405.04517), section 2.2.
    """

    carry_type = SLSTMCarry

    hidden_size: int
    forget_bias: GateBias = 1.0
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    @property
    def has_separate_units(self) -> bool:
        return False

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> LSTMParams:
        key, key_b = jax.random.split(key)
        w_x, w_h, b = draw_weights(self, key, input_size, 4, dtype)
        return LSTMParams(w_x, w_h, raise_second_gate(b, self.forget_bias, key_b, lower_first=True))

    def pointwise(self, params: LSTMParams, zx: Array, zh: Array, carry: SLSTMCarry) -> SLSTMCarry:
        log_i, z_f, z_g, z_o = jnp.split(zx + zh, 4, axis=-1)
        log_f = -jax.nn.softplus(-z_f) + carry.m
        m = jnp.where(carry.n == 0, log_i, jnp.maximum(log_f, log_i))
        i, f = jnp.exp(log_i - m), jnp.exp(jnp.minimum(log_f - m, LARGEST))
        g, o = squash_gates(jnp.concatenate([z_g, z_o], axis=-1), "ts")
        c, n = f * carry.c + i * g, f * carry.n + i
        return SLSTMCarry(h=o * c / n, c=c, n=n, m=m)
