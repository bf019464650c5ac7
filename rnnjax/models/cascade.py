"""Recurrent Cascade-Correlation: a network that grows one hidden unit at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from rnnjax.checks import check_positive, check_size


class CascadeParams(NamedTuple):
    """Weights of `RecurrentCascade`: sources are a constant 1, the inputs, and `max_units` hidden units.

    Weights of hidden units that are not there yet are zero.
    """

    w: Float[Array, "sources max_units"]
    """Into every hidden unit, from the inputs and from earlier units."""
    w_self: Float[Array, "max_units"]
    """From every hidden unit to itself, one step later."""
    w_out: Float[Array, "sources outputs"]
    units: Int[Array, ""]
    """How many hidden units there are."""


@dataclass(frozen=True)
class RecurrentCascade:
    """Logistic hidden units, each of which sees the inputs, the units before it, and itself one step ago:

        v_i(t) = logistic(w_i [1, x_t, v_1(t), ..., v_(i-1)(t)] + w_self_i v_i(t-1)),    y_t = w_out [1, x_t, v(t)]

    The network starts without hidden units, and `fit` is the whole procedure. `fit_outputs` trains the output weights
    alone. `grow` then trains `candidates` units at once, none of which feeds anything, to maximise the covariance of
    what they do with the errors that are left, over all steps of all sequences,

        S = sum over outputs o of |sum over t of (v(t) - mean v) (e_o(t) - mean e_o)|,

    takes in the best, and freezes what goes into it. A unit's own recurrence is all the recurrence there is, so that
    its derivative, dv(t)/dw = v'(t) (source(t) + w_self dv(t-1)/dw), is exact; here it is backpropagation through the
    scan. Trained in batches by Rprop, in place of Quickprop.

    Source: S. E. Fahlman, "The Recurrent Cascade-Correlation Architecture", NIPS 3, 1991.
    """

    outputs: int
    max_units: int = 10
    candidates: int = 8
    epochs: int = 100
    """Passes over the data that `fit_outputs` makes, and `grow`."""
    rate: float = 0.01
    """Rprop's first step."""

    def __post_init__(self) -> None:
        for name in ("outputs", "max_units", "candidates", "epochs"):
            object.__setattr__(self, name, check_size(name, getattr(self, name)))
        object.__setattr__(self, "rate", check_positive("rate", self.rate))

    def init(self, key: Array, input_size: int) -> CascadeParams:
        """No hidden units yet, and output weights U[-0.2, 0.2]."""
        sources = 1 + check_size("input_size", input_size) + self.max_units
        w_out = jax.random.uniform(key, (sources, self.outputs), minval=-0.2, maxval=0.2)
        w_out = w_out.at[1 + input_size :].set(0)
        zeros = jnp.zeros((sources, self.max_units))
        return CascadeParams(zeros, jnp.zeros(self.max_units), w_out, jnp.zeros((), jnp.int32))

    def weights(self, input_size: int, units: int) -> int:
        """How many weights it has with so many hidden units."""
        into = units * (1 + input_size + 1) + units * (units - 1) // 2
        return into + (1 + input_size + units) * self.outputs

    def sources(
        self, params: CascadeParams, xs: Float[Array, "time *batch inputs"]
    ) -> Float[Array, "time *batch sources"]:
        """The constant, the inputs, and what the hidden units do; those that are not there give 0."""
        silent = jnp.zeros((*xs.shape[:-1], self.max_units), xs.dtype)
        sources = jnp.concatenate([jnp.ones_like(xs[..., :1]), xs, silent], -1)
        first = 1 + xs.shape[-1]

        def add(unit: Any, sources: Array) -> Array:
            values = _unit(jnp.take(params.w, unit, 1), jnp.take(params.w_self, unit), sources)
            return sources.at[..., first + unit].set(values)

        return lax.fori_loop(0, params.units, add, sources)

    def __call__(
        self, params: CascadeParams, xs: Float[Array, "time *batch inputs"]
    ) -> Float[Array, "time *batch outputs"]:
        """The outputs before their logistic function."""
        return self.sources(params, xs) @ params.w_out

    def fit(
        self,
        key: Array,
        xs: Float[Array, "time *batch inputs"],
        targets: Float[Array, "time *batch outputs"],
        real: Bool[Array, "time *batch"],
        units: int | None = None,
    ) -> CascadeParams:
        """Outputs, then a hidden unit and the outputs again, until there are `units` of them, by default `max_units`.

        Raises ValueError if there is no room for so many.
        """
        count = self.max_units if units is None else check_size("units", units)
        if count > self.max_units:
            raise ValueError(f"units must be at most max_units, {self.max_units}, got {units}")
        key_init, *keys = jax.random.split(key, 1 + count)
        start = self.fit_outputs(self.init(key_init, xs.shape[-1]), xs, targets, real)

        def grow(params: CascadeParams, key: Array) -> tuple[CascadeParams, None]:
            return self.fit_outputs(self.grow(key, params, xs, targets, real), xs, targets, real), None

        return lax.scan(grow, start, jnp.stack(keys))[0]

    def fit_outputs(
        self,
        params: CascadeParams,
        xs: Float[Array, "time *batch inputs"],
        targets: Float[Array, "time *batch outputs"],
        real: Bool[Array, "time *batch"],
    ) -> CascadeParams:
        """Output weights after `epochs` epochs, by the squared errors of logistic outputs at the real steps."""
        sources = self.sources(params, xs)
        there = self._there(params)[:, None]

        def loss(w_out: Array) -> Array:
            return 0.5 * (jnp.square(targets - jax.nn.sigmoid(sources @ w_out)).sum(-1) * real).sum()

        return params._replace(w_out=jnp.where(there, self._descend(loss, params.w_out), params.w_out))

    def grow(
        self,
        key: Array,
        params: CascadeParams,
        xs: Float[Array, "time *batch inputs"],
        targets: Float[Array, "time *batch outputs"],
        real: Bool[Array, "time *batch"],
    ) -> CascadeParams:
        """One hidden unit more, the best of `candidates` after `epochs` epochs; there must be room for it."""
        sources = self.sources(params, xs)
        y = jax.nn.sigmoid(sources @ params.w_out)
        errors = (targets - y) * y * (1 - y) * real[..., None]
        total = real.sum()
        errors = (errors - errors.sum(range(real.ndim)) / total) * real[..., None]
        there = self._there(params)

        def score(candidate: tuple[Array, Array]) -> Array:
            w, w_self = candidate
            values = _unit(w * there, w_self, sources)
            values = (values - (values * real).sum() / total) * real
            return jnp.abs(jnp.tensordot(values, errors, real.ndim)).sum()

        keys = jax.random.split(key)
        drawn = (
            jax.random.uniform(keys[0], (self.candidates, len(there)), minval=-1, maxval=1),
            jax.random.uniform(keys[1], (self.candidates,), minval=-1, maxval=1),
        )
        trained = jax.vmap(lambda candidate: self._descend(lambda one: -score(one), candidate))(drawn)
        scores = jax.vmap(score)(trained)
        w, w_self = jax.tree.map(lambda leaf: leaf[jnp.nanargmax(scores)], trained)
        unit = params.units
        return params._replace(
            w=params.w.at[:, unit].set(w * there), w_self=params.w_self.at[unit].set(w_self), units=unit + 1
        )

    def _there(self, params: CascadeParams) -> Bool[Array, "sources"]:
        """Which sources there are."""
        sources = len(params.w)
        return jnp.arange(sources) < sources - self.max_units + params.units

    def _descend(self, loss: Callable[[Any], Array], start: Any) -> Any:
        optimizer = optax.rprop(self.rate)

        def epoch(state: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
            weights, memory = state
            updates, memory = optimizer.update(jax.grad(loss)(weights), memory, weights)
            return (optax.apply_updates(weights, updates), memory), None

        (weights, _), _ = lax.scan(epoch, (start, optimizer.init(start)), length=self.epochs)
        return weights


def _unit(
    w: Float[Array, "sources"], w_self: Float[Array, ""], sources: Float[Array, "time *batch sources"]
) -> Float[Array, "time *batch"]:
    """What one hidden unit does."""

    def step(before: Array, net: Array) -> tuple[Array, Array]:
        value = jax.nn.sigmoid(net + w_self * before)
        return value, value

    nets = sources @ w
    return lax.scan(step, jnp.zeros_like(nets[0]), nets)[1]
