"""What a recurrent node of an ONNX model is here: a cell, its parameters, and how the node runs it."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from rnnjax.cells.base import Cell
from rnnjax.compose.bidirectional import Bidirectional, BidirectionalCarry
from rnnjax.scan import unroll


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "lengths", "initial_h", "initial_c"],
    meta_fields=["cell", "reverse", "batch_major"],
)
@dataclass(frozen=True, eq=False)
class OnnxRecurrence:
    """A recurrent node of an ONNX model, as `from_onnx` reads it. Called, it computes the node's outputs:

        Y, Y_h = recurrence(xs)    of an RNN or a GRU
        Y, Y_h, Y_c = recurrence(xs)    of an LSTM

    and everything else of the package takes its parts:

        rnnjax.unroll(r.cell, r.params, xs, reverse=r.reverse, batch_major=r.batch_major)

    A pytree, whose leaves are the arrays.

    Attributes:
        cell: the cell; a `Bidirectional` for a node with both directions.
        params: its parameters.
        reverse: whether the node runs from the last step to the first.
        batch_major: whether the node has layout 1: batch before time and before the directions.
        lengths: the sequence_lens that the model holds, None if it holds none.
        initial_h: the initial hidden state that the model holds, in the node's own shape, None if it holds none.
        initial_c: the initial cell state, as well.
    """

    cell: Cell[Any, Any]
    params: Any
    reverse: bool = False
    batch_major: bool = False
    lengths: Int[Array, "batch"] | None = None
    initial_h: Float[Array, "directions batch hidden_size"] | None = None
    initial_c: Float[Array, "directions batch hidden_size"] | None = None

    def __call__(
        self,
        xs: Float[ArrayLike, "time batch features"],
        lengths: Int[ArrayLike, "batch"] | None = None,
        initial_h: Float[ArrayLike, "directions batch hidden_size"] | None = None,
        initial_c: Float[ArrayLike, "directions batch hidden_size"] | None = None,
    ) -> tuple[Array, ...]:
        """The outputs of the node, in its own shapes.

        Args:
            xs: the inputs X, `[time, batch, features]`, or `[batch, time, features]` with layout 1.
            lengths: sequence_lens, the number of real steps of every sequence; Y is zero past it. None: those that the
                model holds, else all steps.
            initial_h: the initial hidden states, `[directions, batch, hidden_size]`, or
                `[batch, directions, hidden_size]` with layout 1. None: those that the model holds, else zeros.
            initial_c: the initial cell states of an LSTM, as well.

        Returns:
            Y `[time, directions, batch, hidden_size]`, or `[batch, time, directions, hidden_size]` with layout 1; Y_h,
            and of an LSTM Y_c, the states after each sequence's own last step, in the shape of `initial_h`. A sequence
            of length 0 keeps its initial state.

        Raises:
            ValueError: inputs that do not fit the node.
        """
        xs = jnp.asarray(xs)
        if xs.ndim != 3:
            axes = "[batch, time, features]" if self.batch_major else "[time, batch, features]"
            raise ValueError(f"xs must be {axes}, got shape {xs.shape}")
        carry = self._carry(xs, {"initial_h": initial_h, "initial_c": initial_c})
        last, ys = unroll(
            self.cell,
            self.params,
            xs,
            carry,
            lengths=self.lengths if lengths is None else lengths,
            reverse=self.reverse,
            batch_major=self.batch_major,
        )
        each = last if isinstance(self.cell, Bidirectional) else (last,)
        ys = ys.reshape(*ys.shape[:-1], len(each), -1)
        states = (jnp.stack(state, int(self.batch_major)).astype(ys.dtype) for state in zip(*each, strict=True))
        return ys if self.batch_major else jnp.moveaxis(ys, -2, 1), *states

    def _carry(self, xs: Array, given: dict[str, ArrayLike | None]) -> Any:
        """The carry to start from: what is given, else what the model holds, else zeros."""
        both = isinstance(self.cell, Bidirectional)
        single: Any = self.cell.forward if isinstance(self.cell, Bidirectional) else self.cell
        shape = (xs.shape[0], 1 + both) if self.batch_major else (1 + both, xs.shape[1])
        wanted = [f"initial_{field}" for field in single.carry_type._fields]
        for name, value in given.items():
            if name not in wanted and value is not None:
                raise ValueError(f"{name} is for an LSTM, but the node is of {type(single).__name__}")

        def state(name: str) -> Array:
            value = getattr(self, name) if given[name] is None else given[name]
            value = jnp.zeros((*shape, single.hidden_size), xs.dtype) if value is None else jnp.asarray(value)
            if value.shape != (*shape, single.hidden_size):
                raise ValueError(f"{name} has shape {value.shape}, expected {(*shape, single.hidden_size)}")
            return jnp.moveaxis(value, int(self.batch_major), 0)

        carries = [single.carry_type(*states) for states in zip(*map(state, wanted), strict=True)]
        return BidirectionalCarry(*carries) if both else carries[0]
