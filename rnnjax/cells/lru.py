"""The linear recurrent unit."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import SizedCell, carry_dtype, matmul
from rnnjax.cells.linear import Flags, ParallelCell, linear_scan
from rnnjax.checks import check_floating, check_size


class LRUParams(NamedTuple):
    """Weights of `LRU`; complex matrices as real and imaginary part."""

    log_nu: Float[Array, "hidden_size"]
    log_theta: Float[Array, "hidden_size"]
    log_gamma: Float[Array, "hidden_size"]
    b_re: Float[Array, "input_size hidden_size"]
    b_im: Float[Array, "input_size hidden_size"]
    c_re: Float[Array, "hidden_size hidden_size"]
    c_im: Float[Array, "hidden_size hidden_size"]
    d: Float[Array, "input_size hidden_size"]


class LRUCarry(NamedTuple):
    """Real and imaginary part of the state of `LRU`."""

    re: Float[Array, "*batch hidden_size"]
    im: Float[Array, "*batch hidden_size"]


class LRUInput(NamedTuple):
    """The projected input of `LRU`: what is added to the state, and what goes to the output."""

    re: Float[Array, "*batch hidden_size"]
    im: Float[Array, "*batch hidden_size"]
    skip: Float[Array, "*batch hidden_size"]


@dataclass(frozen=True)
class LRU(SizedCell[LRUParams, LRUCarry], ParallelCell[LRUParams, LRUCarry]):
    """Linear recurrent unit, a stable diagonal linear recurrence in complex numbers:

        s_t = lambda * s_(t-1) + exp(log_gamma) * (x_t B),    lambda = exp(-exp(log_nu) + i exp(log_theta))
        y_t = Re(s_t C) + x_t D

    |lambda| < 1 whatever the parameters, up to rounding. They start in the ring r_min <= |lambda| <= r_max with angles
    up to `max_phase`, and gamma = sqrt(1 - |lambda|^2). Nonlinear layers belong around it. Parameters:
    3 * hidden_size + 3 * input_size * hidden_size + 2 * hidden_size**2.

    Source: A. Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", 2023 (arXiv:2303.06349),
    section 3, with D a matrix N(0, 1 / input_size), so that input and output sizes may differ.
    """

    hidden_size: int
    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 2 * math.pi

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.r_min < self.r_max <= 1:
            raise ValueError(f"r_min and r_max must be 0 <= r_min < r_max <= 1, got {self.r_min} and {self.r_max}")
        if not 0 < self.max_phase <= 2 * math.pi:
            raise ValueError(f"max_phase must be above 0 and at most 2 pi, got {self.max_phase}")

    @property
    def has_separate_units(self) -> bool:
        return False

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> LRUParams:
        input_size = check_size("input_size", input_size)
        check_floating("dtype", dtype)
        size, wide = self.hidden_size, carry_dtype(dtype)
        keys = jax.random.split(key, 7)
        # 1 - |lambda|^2, uniform in the area of the ring; its edges, without a logarithm, are left out.
        share = jax.random.uniform(keys[0], (size,), wide, 1e-4, 1 - 1e-4)
        gap = (1 - self.r_max**2) + share * (self.r_max**2 - self.r_min**2)
        phase = self.max_phase * jax.random.uniform(keys[1], (size,), wide, 1e-4, 1)

        def normal(key: Array, rows: int, variance: float) -> Array:
            return jax.random.normal(key, (rows, size), wide) * math.sqrt(variance)

        params = LRUParams(
            log_nu=jnp.log(-0.5 * jnp.log1p(-gap)),
            log_theta=jnp.log(phase),
            log_gamma=0.5 * jnp.log(gap),
            b_re=normal(keys[2], input_size, 0.5 / input_size),
            b_im=normal(keys[3], input_size, 0.5 / input_size),
            c_re=normal(keys[4], size, 1 / size),
            c_im=normal(keys[5], size, 1 / size),
            d=normal(keys[6], input_size, 1 / input_size),
        )
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params)

    def initial_carry(self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> LRUCarry:
        zeros = jnp.zeros((*batch_shape, self.hidden_size), carry_dtype(dtype))
        return LRUCarry(zeros, zeros)

    def input_size(self, params: LRUParams) -> int:
        return params.d.shape[0]

    def project(self, params: LRUParams, xs: Float[Array, "*batch features"]) -> LRUInput:
        gamma = jnp.exp(_wide(params.log_gamma))
        return LRUInput(gamma * matmul(xs, params.b_re), gamma * matmul(xs, params.b_im), matmul(xs, params.d))

    def advance(self, params: LRUParams, carry: LRUCarry, z: LRUInput) -> LRUCarry:
        re, im = _eigenvalues(params)
        return LRUCarry(re * carry.re - im * carry.im + z.re, re * carry.im + im * carry.re + z.im)

    def output(self, params: LRUParams, carry: LRUCarry, z: LRUInput) -> Float[Array, "*batch hidden_size"]:
        return matmul(carry.re, params.c_re) - matmul(carry.im, params.c_im) + z.skip

    def carries(
        self, params: LRUParams, zs: LRUInput, carry: LRUCarry, fresh: LRUCarry, valid: Flags, resets: Flags
    ) -> LRUCarry:
        inputs = jax.lax.complex(zs.re, zs.im)
        factors = jnp.broadcast_to(jax.lax.complex(*_eigenvalues(params)), inputs.shape)
        start, restart = jax.lax.complex(carry.re, carry.im), jax.lax.complex(fresh.re, fresh.im)
        states = linear_scan(factors, inputs, start, restart, valid, resets)
        return LRUCarry(states.real, states.imag)


def _wide(x: Array) -> Array:
    return x.astype(carry_dtype(x.dtype))


def _eigenvalues(params: LRUParams) -> tuple[Array, Array]:
    size, angle = jnp.exp(-jnp.exp(_wide(params.log_nu))), jnp.exp(_wide(params.log_theta))
    return size * jnp.cos(angle), size * jnp.sin(angle)
