"""The Jacobian of the last carry with respect to earlier ones, without a loss."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from rnnjax.cells.base import Cell
from rnnjax.flow.adjoint import Scaled, log, normalize
from rnnjax.kernels.base import select, vary_with
from rnnjax.scan import prepare, trajectory


class JacobianNorms(NamedTuple):
    """What `jacobian_norms` returns; all logarithms are natural, minus infinity is exactly zero."""

    lags: Int[Array, "lags"]
    log_spectral: Float[Array, "lags *batch"]
    """ln of the largest singular value of dcarry_T/dcarry_(T - lag)."""
    log_frobenius: Float[Array, "lags *batch"]
    """ln of its Frobenius norm."""
    log_singular_values: Float[Array, "lags *batch size"] | None
    """ln of all its singular values, largest first, if asked for."""


def jacobian_norms(
    cell: Cell[Any, Any],
    params: Any,
    xs: Float[Array, "time *batch features"],
    carry: Any = None,
    *,
    lengths: Int[ArrayLike, "*batch"] | None = None,
    lags: Sequence[int] | None = None,
    of: str | None = None,
    singular_values: bool = False,
) -> JacobianNorms:
    """Spectral and Frobenius norm of dcarry_T/dcarry_t, for every example and lag T - t.

    One backward pass carries the rows of the product of Jacobians, rescaled at every step, so the norms (natural
    logarithms) neither underflow nor overflow. Only the running product is kept, one matrix an example, never the
    Jacobians of all steps; a decomposition is made at the asked-for `lags` alone.

    Singular values below the largest times the precision of the dtype are rounding; use float64 for a wide spectrum.

    Args:
        cell: the cell.
        params: its parameters.
        xs: the inputs, `[time, batch, features]` or `[time, features]`.
        carry: the carry before the first step.
        lengths: real steps of every sequence; T is then each sequence's own end, and padding counts as identity.
        lags: the lags to report, 1 ... time; all of them if None.
        of: a component of the carry, such as "c" of an LSTM: the rows dcomponent_T/dcarry_t alone, at half the cost.
        singular_values: return all singular values too.

    Returns:
        `JacobianNorms`, with arrays `[lags, batch]`.

    Raises:
        ValueError: a lag outside 1 ... time, or a component that the carry does not have.
    """
    xs, carry, _ = prepare(cell, params, xs, carry, lengths)
    checked_lags = _check_lags(lags, len(xs))
    measured_lags, places = np.unique(checked_lags, return_inverse=True)
    if of is not None and of not in carry._fields:
        raise ValueError(f"of must be a component of the carry, one of {', '.join(carry._fields)}, got {of!r}")

    def one_example(xs: Array, carry: Any, length: Array | None) -> tuple[Array, ...]:
        return _one_example(cell, params, xs, carry, length, measured_lags, of, singular_values)

    batched = one_example
    for _ in cell.leading_shape(xs)[1:]:
        batched = jax.vmap(batched, in_axes=(1, 0, None if lengths is None else 0), out_axes=1)
    measures = batched(xs, carry, None if lengths is None else jnp.asarray(lengths))
    measures = tuple(measure[places] for measure in measures)
    return JacobianNorms(jnp.asarray(checked_lags), *measures, *([] if singular_values else [None]))


def _check_lags(lags: Sequence[int] | None, time: int) -> np.ndarray:
    if isinstance(lags, jax.core.Tracer):
        raise TypeError("lags must be known when the function is traced: make them a static argument")
    checked = np.arange(1, time + 1) if lags is None else np.asarray(lags)
    are_integers = checked.ndim == 1 and np.issubdtype(checked.dtype, np.integer)
    if not are_integers or checked.size == 0 or np.min(checked) < 1 or np.max(checked) > time:
        raise ValueError(f"lags must be integers from 1 to {time}, the time steps of xs, got {lags}")
    return checked


def _one_example(
    cell: Cell[Any, Any],
    params: Any,
    xs: Float[Array, "time features"],
    carry: Any,
    length: Array | None,
    lags: np.ndarray,
    of: str | None,
    singular_values: bool,
) -> tuple[Array, ...]:
    final, _, path = trajectory(cell, params, xs, carry, lengths=length)
    start = Scaled(_basis(final, of), jnp.zeros((), jnp.result_type(*jax.tree.leaves(final))))
    matrices = jax.eval_shape(_as_matrix, start.tree)
    # Only the matrices whose singular values are asked for are kept; all others are written to one more, spare, place.
    places = np.full(len(xs), len(lags))
    places[len(xs) - lags] = np.arange(len(lags))
    kept = jnp.zeros((len(lags) + 1, *matrices.shape) if singular_values else (0,), matrices.dtype)

    def measure(product: Any) -> tuple[Array, Array]:
        matrix = _as_matrix(product)
        return log_largest_singular_value(matrix), log(jnp.linalg.norm(matrix))

    def body(state: tuple[Scaled, Array], inputs: tuple[Any, Array]) -> tuple[tuple[Scaled, Array], Any]:
        (product, kept), ((_, z, before, valid), place) = state, inputs
        _, pull = jax.vjp(lambda before: cell.advance(params, before, z), before)

        def pull_row(row: Any) -> Any:
            (through,) = pull(row)
            return select(valid, through, row)

        product = normalize(Scaled(jax.vmap(pull_row)(product.tree), product.log_scale))
        nothing = (jnp.zeros_like(product.log_scale),) * 2
        seen = lax.cond(place < len(lags), measure, lambda _: nothing, product.tree)
        if singular_values:
            kept = kept.at[place].set(_as_matrix(product.tree))
        return (product, kept), (product.log_scale, seen)

    (_, kept), (log_scales, seen) = lax.scan(
        body, vary_with((start, kept), final), (path, jnp.asarray(places)), reverse=True
    )
    log_scales, (spectral, frobenius) = jax.tree.map(lambda leaf: leaf[len(xs) - lags], (log_scales, seen))
    measures = log_scales + spectral, log_scales + frobenius
    if not singular_values:
        return measures
    return *measures, log_scales[:, None] + log(jnp.linalg.svd(kept[:-1], compute_uv=False))


def log_largest_singular_value(matrix: Float[Array, "m n"]) -> Float[Array, ""]:
    """ln of the largest singular value, by squaring A A^T over and over: ||(A A^T)^p||^(1/2p) for p = 2^25.

    The error, at most ln(m) / 2^26, is below the precision of float32. Products of small matrices run on any device and
    inside a loop over time; LAPACK's decompositions, in a loop on a CPU of few cores, can wait for each other forever.
    """
    squarings = 25 if matrix.dtype == jnp.float32 else 52

    def square(index: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        power, log_norm = state
        norm = jnp.linalg.norm(power)
        power = power / jnp.where(norm > 0, norm, 1)
        return power @ power, log_norm + log(norm) / 2.0**index

    gram = matrix @ matrix.T
    _, log_norm = lax.fori_loop(0, squarings + 1, square, (gram, jnp.zeros_like(gram[0, 0])))
    return 0.5 * log_norm


def _as_matrix(rows: Any) -> Float[Array, "rows size"]:
    return jax.vmap(lambda row: ravel_pytree(row)[0])(rows)


def _basis(carry: Any, of: str | None) -> Any:
    """The rows of the identity, as carries with one more axis in front; those of component `of` alone if given."""
    flat, restore = ravel_pytree(carry)
    leaves, structure = jax.tree.flatten(carry)
    ends = np.cumsum([leaf.size for leaf in leaves])
    ranges = [np.arange(end - leaf.size, end) for end, leaf in zip(ends, leaves, strict=True)]
    places = jax.tree.unflatten(structure, ranges)
    picked = np.concatenate(jax.tree.leaves(places if of is None else getattr(places, of)))
    return jax.vmap(restore)(jnp.eye(flat.size, dtype=flat.dtype)[picked])
