"""The LSTM of cuDNN, through `jax.experimental.rnn`: NVIDIA GPUs, float32, reverse mode of differentiation alone.

Its gradients are cuDNN's own, so that there is no forward mode, no second derivative and no `jax.vmap`, each of which
is an error: it is taken when asked for by name, and never by "auto".
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import rnn
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from rnnjax.cells.base import Cell
from rnnjax.cells.lstm import LSTM, LSTMCarry, LSTMParams
from rnnjax.kernels.base import Stretch, refused, select, vary_with


def run(
    cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any, fresh: Any, stretch: Stretch
) -> tuple[Any, Array]:
    """See `rnnjax.kernels.base`."""
    why = obstacle(cell, params, xs, stretch) or (None if _has_cuda() else NEEDS)
    if why is not None:
        raise ValueError(f'kernel "cudnn" {why}: "auto" finds another')

    def elsewhere(params: Any, xs: Array, carry: Any, valid: Any) -> tuple[Any, Array]:
        found: tuple[Any, Array] = refused(f'kernel "cudnn" {NEEDS}', (carry, xs[..., :1] * carry.h))
        return vary_with(found, (params, xs, carry, valid))

    def here(params: Any, xs: Array, carry: Any, valid: Any) -> tuple[Any, Array]:
        return lstm(params, xs, carry, valid, reverse=stretch.reverse)

    chosen: tuple[Any, Array] = lax.platform_dependent(params, xs, carry, stretch.valid, cuda=here, default=elsewhere)
    return chosen


NEEDS = "needs an NVIDIA GPU"


def obstacle(cell: Cell[Any, Any], params: Any, xs: Array, stretch: Stretch) -> str | None:
    """Why cuDNN cannot do the work, on whatever machine; None if it can."""
    if not isinstance(cell, LSTM):
        return f"has an LSTM alone, and {type(cell).__name__} is none"
    dtypes = {str(leaf.dtype) for leaf in (*params, xs)}
    if dtypes != {"float32"}:
        return f"computes in float32, not in {' and '.join(sorted(dtypes - {'float32'}))}"
    if stretch.borders is not None:
        return "takes no resets"
    if stretch.gaps:
        return "takes lengths, but no mask"
    if stretch.valid is not None and stretch.reverse:
        return "takes no lengths in reverse"
    return None


def _has_cuda() -> bool:
    try:
        return bool(jax.devices("cuda"))
    except RuntimeError:
        return False


def lstm(
    params: LSTMParams, xs: Array, carry: LSTMCarry, valid: Array | None, *, reverse: bool
) -> tuple[LSTMCarry, Array]:
    """The final carry and the outputs. Sequences of no step, which cuDNN does not take, are given one, and left out."""
    time, *batch_shape, features = xs.shape
    size = carry.h.shape[-1]
    inputs = xs.reshape(time, -1, features)
    batch = inputs.shape[1]
    lengths = jnp.full(batch, time, jnp.int32) if valid is None else valid.reshape(time, batch).sum(0, dtype=jnp.int32)
    h, c = (leaf.reshape(1, batch, size) for leaf in carry)
    inputs = (inputs[::-1] if reverse else inputs).swapaxes(0, 1)
    ys, h, c = _once(jnp.maximum(lengths, 1), inputs, h, c, pack(params))
    ys = ys.swapaxes(0, 1).reshape(time, *batch_shape, size)
    final = LSTMCarry(h.reshape(*batch_shape, size), c.reshape(*batch_shape, size))
    if valid is not None:
        final = select(lengths.reshape(*batch_shape) > 0, final, carry)
    return final, select(valid, ys[::-1] if reverse else ys, jnp.zeros_like(ys))


def _lstm(lengths: Array, *floating: Array) -> tuple[Array, Array, Array]:
    """Outputs and the final carry, batch-major, of inputs, carry and weights."""
    inputs, h, c, weights = floating
    found: tuple[Array, Array, Array] = rnn.lstm(
        inputs,
        h,
        c,
        weights,
        lengths,
        input_size=inputs.shape[-1],
        hidden_size=h.shape[-1],
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
    )
    return found


@jax.custom_vjp
def _once(*arguments: Array) -> tuple[Array, Array, Array]:
    """The same, but for an error of ours where JAX would differentiate cuDNN's gradients, or map either."""
    return _lstm(*map(_guard.bind, arguments))


def _forward(*arguments: Array) -> tuple[tuple[Array, Array, Array], Any]:
    lengths, *floating = map(_guard.bind, arguments)
    found: tuple[tuple[Array, Array, Array], Any] = jax.vjp(partial(_lstm, lengths), *floating)
    return found


def _backward(gradient: Any, cotangents: tuple[Array, Array, Array]) -> tuple[Array | None, ...]:
    return None, *gradient(tuple(map(_guard.bind, cotangents)))


_once.defvjp(_forward, _backward)


def _refuse(what: str, *_: Any) -> Any:
    raise ValueError(f'kernel "cudnn" {what}: use kernel "auto"')


_guard = Primitive("cudnn_guard")
"""Gives its argument, which can be neither differentiated nor mapped: it stands where JAX does neither."""
_guard.def_impl(lambda array: array)
_guard.def_abstract_eval(lambda aval: aval)
mlir.register_lowering(_guard, lambda context, array: [array])
ad.primitive_jvps[_guard] = partial(_refuse, "is differentiated once, in reverse")
batching.primitive_batchers[_guard] = partial(_refuse, "does not work under jax.vmap")


def pack(params: LSTMParams) -> Array:
    """The weights as cuDNN's one vector: of inputs, of the hidden state, and two biases; gates are in our order."""
    return jnp.concatenate([params.w_x.T.ravel(), params.w_h.T.ravel(), params.b, jnp.zeros_like(params.b)])
