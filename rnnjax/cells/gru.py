"""Gated recurrent units, with the reset gate after or before the recurrent product."""

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
    draw_gates,
    draw_weights,
    matmul,
    raise_second_gate,
    squash_gates,
)
from rnnjax.initializers import Glorot, Initializer, Orthogonal, Zeros


class GRUParams(NamedTuple):
    """Weights of `GRU`; gates in the order r, z, n. `b_h` is the recurrent bias of n, which r multiplies."""

    w_x: Float[Array, "input_size 3*hidden_size"]
    w_h: Float[Array, "hidden_size 3*hidden_size"]
    b: Float[Array, "3*hidden_size"]
    b_h: Float[Array, "hidden_size"]


@dataclass(frozen=True)
class GRU(PointwiseCell[GRUParams, HiddenCarry]):
    """GRU with the reset gate after the product, as in PyTorch, cuDNN and Keras (reset_after=True):

        zx = x_t w_x + b,    zh = h_(t-1) w_h
        r, z = logistic(zx_rz + zh_rz)
        n    = tanh(zx_n + r * (zh_n + b_h))
        h_t  = z * h_(t-1) + (1 - z) * n,    y_t = h_t

    The recurrent biases of r and z would only add to `b`; that of n would not, and is `b_h`. `update_bias`, a number or
    `initializers.Chrono(max_lag)`, is added to the drawn bias of z, the share of the state that is kept. Parameters:
    3 * (input_size + hidden_size + 1) * hidden_size + hidden_size.

    Source: K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014 (arXiv:1406.1078v1).
    """

    hidden_size: int
    update_bias: GateBias = 0.0
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> GRUParams:
        key, key_n = jax.random.split(key)
        w_x, w_h, b = draw_weights(self, key, input_size, 3, dtype)
        b = raise_second_gate(b, self.update_bias, jax.random.fold_in(key_n, 1), gates=3)
        return GRUParams(w_x, w_h, b, draw_gates(self.bias_init, key_n, (self.hidden_size,), 1, dtype))

    def pointwise(self, params: GRUParams, zx: Array, zh: Array, carry: HiddenCarry) -> HiddenCarry:
        split = 2 * self.hidden_size
        r, z = squash_gates(zx[..., :split] + zh[..., :split], "ss")
        n = jnp.tanh(zx[..., split:] + r * (zh[..., split:] + params.b_h))
        return HiddenCarry(z * carry.h + (1 - z) * n)


class GRUResetBeforeParams(NamedTuple):
    """Weights of `GRUResetBefore`; gates in the order r, z, n."""

    w_x: Float[Array, "input_size 3*hidden_size"]
    w_h: Float[Array, "hidden_size 3*hidden_size"]
    b: Float[Array, "3*hidden_size"]


@dataclass(frozen=True)
class GRUResetBefore(AffineCell[GRUResetBeforeParams, HiddenCarry]):
    """GRU with the reset gate before the product, as first published and in Keras with reset_after=False:

        zx   = x_t w_x + b
        r, z = logistic(zx_rz + h_(t-1) w_h_rz)
        n    = tanh(zx_n + (r * h_(t-1)) w_h_n)
        h_t  = z * h_(t-1) + (1 - z) * n,    y_t = h_t

    The second product waits for r, so this cell has no `pointwise`. `update_bias` as for `GRU`. Parameters:
    3 * (input_size + hidden_size + 1) * hidden_size.

    Source: K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014 (arXiv:1406.1078v3).
    """

    hidden_size: int
    update_bias: GateBias = 0.0
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> GRUResetBeforeParams:
        w_x, w_h, b = draw_weights(self, key, input_size, 3, dtype)
        return GRUResetBeforeParams(
            w_x, w_h, raise_second_gate(b, self.update_bias, jax.random.fold_in(key, 1), gates=3)
        )

    def advance(self, params: GRUResetBeforeParams, carry: HiddenCarry, z: Array) -> HiddenCarry:
        split = 2 * self.hidden_size
        r, update = squash_gates(z[..., :split] + matmul(carry.h, params.w_h[:, :split]), "ss")
        n = jnp.tanh(z[..., split:] + matmul(r * carry.h, params.w_h[:, split:]))
        return HiddenCarry(update * carry.h + (1 - update) * n)
