"""Cells as flax.nnx modules."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from rnnjax.cells.base import Cell
from rnnjax.compose.base import check_step
from rnnjax.scan import real_steps, time_first, unroll


class Recurrent(nnx.Module):
    """Any cell, over time, as a flax.nnx layer:

        carry, ys = layer(xs)    is    carry, ys = rnnjax.unroll(cell, params, xs)

    Depth, both directions, dropout and all else is the cell's: `Recurrent(Stack((Bidirectional(LSTM(64)), ...)), ...)`.
    Random cells draw from the stream `dropout` of `rngs`, unless `deterministic` (`module.eval()`, `nnx.view`) or a
    call says otherwise. The parameters are `nnx.Param`s under the names of the cell's: `layer.weights.w_x`.

    Weights of flax's own cells come in through `rnnjax.interop.from_flax`. In linen: `nnx.bridge.to_linen(Recurrent,
    cell, input_size)`.

    Args:
        cell: the cell.
        input_size: the number of features of the inputs.
        batch_major: inputs, masks and outputs are `[batch, time, ...]` instead of `[time, batch, ...]`.
        deterministic: run without random numbers unless a call says otherwise.
        dtype: that of the parameters.
        rngs: the stream `params` draws the parameters; `dropout` is kept for training, and need not be there.
    """

    def __init__(
        self,
        cell: Cell[Any, Any],
        input_size: int,
        *,
        batch_major: bool = False,
        deterministic: bool = False,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.cell = cell
        self.batch_major = batch_major
        self.deterministic = deterministic
        self.weights = nnx.data(jax.tree.map(nnx.Param, cell.init(rngs.params(), input_size, dtype)))
        self.rngs = rngs.fork() if cell.is_random else nnx.data(None)

    def __call__(
        self,
        xs: Float[Array, "time *batch features"],
        carry: Any = None,
        *,
        lengths: Int[ArrayLike, "*batch"] | None = None,
        mask: Bool[ArrayLike, "time *batch"] | None = None,
        resets: Bool[ArrayLike, "time *batch"] | None = None,
        reverse: bool = False,
        remat: int | Literal["sqrt"] | None = None,
        kernel: str = "auto",
        deterministic: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | Array | None = None,
    ) -> tuple[Any, Float[Array, "time *batch output_size"]]:
        """The final carry and the outputs; arguments as for `rnnjax.unroll`, with `rngs` in the place of its key."""
        deterministic = self.deterministic if deterministic is None else deterministic
        draws = self.cell.is_random and not deterministic
        key = dropout_key(self.rngs if rngs is None else rngs) if draws else None
        return unroll(
            self.cell,
            self.params,
            xs,
            carry,
            lengths=lengths,
            mask=mask,
            resets=resets,
            reverse=reverse,
            batch_major=self.batch_major,
            key=key,
            deterministic=deterministic,
            remat=remat,
            kernel=kernel,
        )

    @property
    def params(self) -> Any:
        """The parameters as the cell itself has them: arrays."""
        return values_of(self.weights)

    def start(self, batch_shape: tuple[int, ...]) -> Any:
        """The carry that sequences start from when none is given."""
        return self.cell.start(self.params, batch_shape, jnp.result_type(*jax.tree.leaves(self.params)))

    def set_view(self, deterministic: bool | None = None) -> None:
        """For `nnx.view`.

        Args:
            deterministic: whether to run without random numbers.
        """
        self.deterministic = self.deterministic if deterministic is None else deterministic


class RecurrentCell(nnx.RNNCellBase):
    """Any cell in the place of `nnx.LSTMCell`: the step of a loop of your own, or of `nnx.RNN`.

        carry, y = cell(carry, x)

    The carry is that of the cell: `(h, c)` of an LSTM, where flax has `(c, h)`. Random cells, whose noise is drawn for
    a whole sequence, run here in evaluation alone (`cell.eval()`): train those with `Recurrent`.
    """

    def __init__(
        self,
        cell: Cell[Any, Any],
        input_size: int,
        *,
        deterministic: bool = False,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_step(cell)
        self.cell = cell
        self.deterministic = deterministic
        self.weights = nnx.data(jax.tree.map(nnx.Param, cell.init(rngs.params(), input_size, dtype)))

    def __call__(
        self, carry: Any, inputs: Float[Array, "*batch features"]
    ) -> tuple[Any, Float[Array, "*batch output_size"]]:
        if self.cell.is_random and not self.deterministic:
            raise ValueError("the cell draws random numbers: train it with Recurrent, or give deterministic=True")
        return self.cell.step(values_of(self.weights), carry, inputs)

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None) -> Any:
        """The carry that a sequence starts from, for inputs of `input_shape`; nothing of it is drawn."""
        if carry_init is not None:
            raise ValueError("carry_init: the cell knows its initial carry; LearnedCarry(cell) makes it a parameter")
        params = values_of(self.weights)
        dtype = jnp.result_type(*jax.tree.leaves(params))
        return self.cell.start(params, input_shape[: len(input_shape) - self.num_feature_axes], dtype)

    @property
    def num_feature_axes(self) -> int:
        return len(self.cell.feature_shape(1))


class BatchNormStack(nnx.Module):
    """A deep network with batch normalisation between its layers:

        xs^(k+1) = gain * (ys^k - mean) / sqrt(variance + epsilon) + b

    with mean and variance of each unit over the whole batch and all real steps, and in evaluation (`module.eval()`, or
    `deterministic` of a call) running averages of them. The recurrence itself is not normalised.

    Source: C. Laurent et al., "Batch Normalized Recurrent Neural Networks", 2015 (arXiv:1510.01378), with the outputs
    normalised instead of their product with the next layer's input weights.

    Args:
        cells: the layers, the lowest first.
        input_size: the number of features of the inputs.
        momentum: of the running averages.
        batch_major, dtype, rngs: as for `Recurrent`.
    """

    def __init__(
        self,
        cells: Sequence[Cell[Any, Any]],
        input_size: int,
        *,
        momentum: float = 0.99,
        batch_major: bool = False,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if not cells:
            raise ValueError("cells must be one cell or more, got none")
        sizes = [input_size, *(cell.output_size for cell in cells[:-1])]
        self.batch_major = batch_major
        self.layers = nnx.List(
            Recurrent(cell, size, dtype=dtype, rngs=rngs) for cell, size in zip(cells, sizes, strict=True)
        )
        self.norms = nnx.List(
            nnx.BatchNorm(size, momentum=momentum, param_dtype=dtype, rngs=rngs) for size in sizes[1:]
        )

    def __call__(
        self,
        xs: Float[Array, "time *batch features"],
        carry: Sequence[Any] | None = None,
        *,
        lengths: Int[ArrayLike, "*batch"] | None = None,
        mask: Bool[ArrayLike, "time *batch"] | None = None,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ) -> tuple[tuple[Any, ...], Float[Array, "time *batch output_size"]]:
        """The final carry of each layer, and the outputs; arguments as for `Recurrent`."""
        cell = self.layers[0].cell
        axis = len(cell.leading_shape(xs)) - 1
        if self.batch_major:
            xs, mask, _ = time_first(cell, xs, mask)
        real = real_steps(cell.leading_shape(xs), lengths, mask)
        finals = []
        for index, layer in enumerate(self.layers):
            if index > 0:
                xs = _normalise(self.norms[index - 1], xs, real, deterministic)
            start = None if carry is None else carry[index]
            final, xs = layer(xs, start, mask=real, deterministic=deterministic, rngs=rngs)
            finals.append(final)
        return tuple(finals), jnp.moveaxis(xs, 0, axis) if self.batch_major else xs


def _normalise(norm: nnx.BatchNorm, xs: Array, real: Array | None, deterministic: bool | None) -> Array:
    """`norm` of the real steps; a batch without any leaves the running averages as they are."""
    if real is None:
        return norm(xs, use_running_average=deterministic).astype(xs.dtype)
    any_real = real.any()
    before = norm.mean[...], norm.var[...]
    counted = (real | ~any_real).reshape(real.shape + (1,) * (xs.ndim - real.ndim))
    ys = norm(xs, use_running_average=deterministic, mask=counted).astype(xs.dtype)
    norm.mean[...], norm.var[...] = (
        jnp.where(any_real, after, kept) for after, kept in zip((norm.mean[...], norm.var[...]), before, strict=True)
    )
    return ys


def values_of(params: Any) -> Any:
    """The arrays in a pytree of `nnx.Param`s."""
    return jax.tree.map(lambda param: param[...], params, is_leaf=lambda node: isinstance(node, nnx.Variable))


def dropout_key(rngs: Any) -> Array:
    """The next key of a stream, or of the stream `dropout` among others; a key is taken as it is."""
    if isinstance(rngs, jax.Array):
        return rngs
    stream = rngs if isinstance(rngs, nnx.RngStream) else getattr(rngs, "dropout", None)
    if stream is None:
        raise ValueError("the cell draws random numbers: give rngs a stream `dropout`, or deterministic=True")
    return stream()
