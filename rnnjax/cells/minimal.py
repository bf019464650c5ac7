"""minGRU and minLSTM: gates that do not see the state, so that all time steps run in parallel."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import AffineCell, GateBias, HiddenCarry, draw_gates, raise_second_gate, squash_gates
from rnnjax.cells.linear import Flags, ParallelCell, log_linear_scan
from rnnjax.checks import check_floating, check_size
from rnnjax.initializers import Glorot, Initializer, Zeros


class MinimalParams(NamedTuple):
    """Weights of `MinGRU` (blocks z, n) and `MinLSTM` (blocks i, f, n)."""

    w_x: Float[Array, "input_size blocks*hidden_size"]
    b: Float[Array, "blocks*hidden_size"]


def draw(cell: Any, key: Array, input_size: int, blocks: int, dtype: Any) -> MinimalParams:
    input_size = check_size("input_size", input_size)
    check_floating("dtype", dtype)
    key_x, key_b = jax.random.split(key)
    return MinimalParams(
        draw_gates(cell.input_init, key_x, (input_size, cell.hidden_size), blocks, dtype),
        draw_gates(cell.bias_init, key_b, (cell.hidden_size,), blocks, dtype),
    )


def positive(x: Array) -> Array:
    """g(x) = x + 1/2 for x >= 0, logistic(x) for x < 0: the candidate, whose logarithm must exist."""
    return jnp.where(x >= 0, x + 0.5, squash_gates(x, "s")[0])


def log_positive(x: Array) -> Array:
    return jnp.where(x >= 0, jnp.log(jnp.where(x >= 0, x, 0) + 0.5), -jax.nn.softplus(-x))


@dataclass(frozen=True)
class MinGRU(AffineCell[MinimalParams, HiddenCarry], ParallelCell[MinimalParams, HiddenCarry]):
    """minGRU, a GRU without reset gate whose update gate and candidate see the input alone:

        z   = logistic(x_t w_z + b_z)
        n   = g(x_t w_n + b_n),    g(x) = x + 1/2 for x >= 0, logistic(x) for x < 0
        h_t = (1 - z) * h_(t-1) + z * n,    y_t = h_t

    In parallel over time it runs on logarithms, as published. Parameters: 2 * (input_size + 1) * hidden_size.

    Source: L. Feng et al., "Were RNNs All We Needed?", 2024 (arXiv:2410.01201), section 3.1 and appendix B.
    """

    hidden_size: int
    input_init: Initializer = Glorot()
    bias_init: Initializer = Zeros()

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> MinimalParams:
        return draw(self, key, input_size, 2, dtype)

    def advance(self, params: MinimalParams, carry: HiddenCarry, z: Array) -> HiddenCarry:
        update, n = jnp.split(z, 2, axis=-1)
        (update,) = squash_gates(update, "s")
        return HiddenCarry(carry.h + update * (positive(n) - carry.h))

    def carries(
        self, params: MinimalParams, zs: Array, carry: HiddenCarry, fresh: HiddenCarry, valid: Flags, resets: Flags
    ) -> HiddenCarry:
        update, n = jnp.split(zs, 2, axis=-1)
        log_keep, log_update = -jax.nn.softplus(update), -jax.nn.softplus(-update)
        return HiddenCarry(log_linear_scan(log_keep, log_update + log_positive(n), carry.h, fresh.h, valid, resets))


@dataclass(frozen=True)
class MinLSTM(AffineCell[MinimalParams, HiddenCarry], ParallelCell[MinimalParams, HiddenCarry]):
    """minLSTM, an LSTM without output gate whose gates see the input alone and sum to one:

        i, f = logistic(x_t w_i + b_i), logistic(x_t w_f + b_f)
        n    = g(x_t w_n + b_n),    g(x) = x + 1/2 for x >= 0, logistic(x) for x < 0
        h_t  = f / (f + i) * h_(t-1) + i / (f + i) * n,    y_t = h_t

    `forget_bias` as for `LSTM`. In parallel over time it runs on logarithms, as published.
    Parameters: 3 * (input_size + 1) * hidden_size.

    Source: L. Feng et al., "Were RNNs All We Needed?", 2024 (arXiv:2410.01201), section 3.2 and appendix B.
    """

    hidden_size: int
    forget_bias: GateBias = 1.0
    input_init: Initializer = Glorot()
    bias_init: Initializer = Zeros()

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> MinimalParams:
        params = draw(self, key, input_size, 3, dtype)
        key = jax.random.fold_in(key, 1)
        return params._replace(b=raise_second_gate(params.b, self.forget_bias, key, gates=3, lower_first=True))

    def advance(self, params: MinimalParams, carry: HiddenCarry, z: Array) -> HiddenCarry:
        i, f, n = jnp.split(z, 3, axis=-1)
        (keep,) = squash_gates(jax.nn.softplus(-i) - jax.nn.softplus(-f), "s")  # f / (f + i)
        return HiddenCarry(keep * carry.h + (1 - keep) * positive(n))

    def carries(
        self, params: MinimalParams, zs: Array, carry: HiddenCarry, fresh: HiddenCarry, valid: Flags, resets: Flags
    ) -> HiddenCarry:
        i, f, n = jnp.split(zs, 3, axis=-1)
        difference = jax.nn.softplus(-f) - jax.nn.softplus(-i)
        log_keep, log_write = -jax.nn.softplus(difference), -jax.nn.softplus(-difference)
        return HiddenCarry(log_linear_scan(log_keep, log_write + log_positive(n), carry.h, fresh.h, valid, resets))
