"""LSTM with a smaller output."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import AffineCell, GateBias, carry_dtype, draw_gates, matmul, raise_second_gate, squash_gates
from rnnjax.cells.lstm import LSTMCarry
from rnnjax.checks import check_floating, check_size
from rnnjax.initializers import Glorot, Initializer, Orthogonal, Zeros


class ProjectedLSTMParams(NamedTuple):
    """Weights of `ProjectedLSTM`; gates in the order i, f, g, o."""

    w_x: Float[Array, "input_size 4*hidden_size"]
    w_h: Float[Array, "projection_size 4*hidden_size"]
    b: Float[Array, "4*hidden_size"]
    w_p: Float[Array, "hidden_size projection_size"]


@dataclass(frozen=True)
class ProjectedLSTM(AffineCell[ProjectedLSTMParams, LSTMCarry]):
    """LSTM whose output is a projection of the gated cell state (LSTMP), so that many cells cost few recurrent weights:

        i, f, g, o = logistic, logistic, tanh, logistic of x_t w_x + h_(t-1) w_h + b
        c_t = f * c_(t-1) + i * g
        h_t = (o * tanh(c_t)) w_p,    y_t = h_t

    `projection_size` is half of `hidden_size`, rounded up, if None. Parameters:
    4 * (input_size + projection_size + 1) * hidden_size + hidden_size * projection_size.

    Source: H. Sak, A. Senior, F. Beaufays, "Long Short-Term Memory Recurrent Neural Network Architectures for Large
    Scale Acoustic Modeling", 2014, without its peepholes and its non-recurrent projection, as in PyTorch's proj_size.
    """

    carry_type = LSTMCarry

    hidden_size: int
    projection_size: int | None = None
    forget_bias: GateBias = 1.0
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()
    projection_init: Initializer = Glorot()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projection_size is not None:
            object.__setattr__(self, "projection_size", check_size("projection_size", self.projection_size))

    @property
    def output_size(self) -> int:
        return -(-self.hidden_size // 2) if self.projection_size is None else self.projection_size

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> ProjectedLSTMParams:
        input_size = check_size("input_size", input_size)
        check_floating("dtype", dtype)
        key_x, key_h, key_b, key_f, key_p = jax.random.split(key, 5)
        b = draw_gates(self.bias_init, key_b, (self.hidden_size,), 4, dtype)
        return ProjectedLSTMParams(
            draw_gates(self.input_init, key_x, (input_size, self.hidden_size), 4, dtype),
            draw_gates(self.recurrent_init, key_h, (self.output_size, self.hidden_size), 4, dtype),
            raise_second_gate(b, self.forget_bias, key_f, lower_first=True),
            draw_gates(self.projection_init, key_p, (self.hidden_size, self.output_size), 1, dtype),
        )

    def initial_carry(self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> LSTMCarry:
        dtype = carry_dtype(dtype)
        return LSTMCarry(
            jnp.zeros((*batch_shape, self.output_size), dtype), jnp.zeros((*batch_shape, self.hidden_size), dtype)
        )

    def advance(self, params: ProjectedLSTMParams, carry: LSTMCarry, z: Array) -> LSTMCarry:
        i, f, g, o = squash_gates(z + matmul(carry.h, params.w_h), "ssts")
        c = f * carry.c + i * g
        return LSTMCarry(h=matmul(o * jnp.tanh(c), params.w_p), c=c)
