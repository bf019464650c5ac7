"""The minimal gated unit."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import AffineCell, HiddenCarry, draw_weights, matmul, squash_gates
from rnnjax.initializers import Glorot, Initializer, Orthogonal, Zeros


class MGUParams(NamedTuple):
    """Weights of `MGU`; gates in the order f, n."""

    w_x: Float[Array, "input_size 2*hidden_size"]
    w_h: Float[Array, "hidden_size 2*hidden_size"]
    b: Float[Array, "2*hidden_size"]


@dataclass(frozen=True)
class MGU(AffineCell[MGUParams, HiddenCarry]):
    """Minimal gated unit, a GRU with one gate for reset and update:

        zx  = x_t w_x + b
        f   = logistic(zx_f + h_(t-1) w_h_f)
        n   = tanh(zx_n + (f * h_(t-1)) w_h_n)
        h_t = (1 - f) * h_(t-1) + f * n,    y_t = h_t

    Parameters: 2 * (input_size + hidden_size + 1) * hidden_size.

    Source: G.-B. Zhou, J. Wu, C.-L. Zhang, Z.-H. Zhou, "Minimal Gated Unit for Recurrent Neural Networks", 2016
    (arXiv:1603.09420), the equations of the MGU.
    """

    hidden_size: int
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> MGUParams:
        return MGUParams(*draw_weights(self, key, input_size, 2, dtype))

    def advance(self, params: MGUParams, carry: HiddenCarry, z: Array) -> HiddenCarry:
        size = self.hidden_size
        (f,) = squash_gates(z[..., :size] + matmul(carry.h, params.w_h[:, :size]), "s")
        n = jnp.tanh(z[..., size:] + matmul(f * carry.h, params.w_h[:, size:]))
        return HiddenCarry(carry.h + f * (n - carry.h))
