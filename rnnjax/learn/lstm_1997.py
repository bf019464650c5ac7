"""The truncated gradient of the LSTM paper of 1997."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from rnnjax.cells.base import Cell, carry_dtype
from rnnjax.cells.lstm import LSTM
from rnnjax.cells.lstm_1997 import LSTM1997
from rnnjax.compose.readout import Readout
from rnnjax.kernels.base import select, vary_with
from rnnjax.learn.base import StepLoss, Steps, score
from rnnjax.learn.forward import ForwardAlgorithm, Stepped


@dataclass(frozen=True)
class Truncated1997(ForwardAlgorithm):
    """The learning rule of 1997 for `LSTM1997`, and with forget gates (2000) for `LSTM`; alone or under a `Readout`.

    An error that arrives at the net input of a cell or a gate changes its weights and goes no further back: what the
    recurrent weights multiply is taken as constant. Only the cells' state carries error through time, and what the
    weights w of unit u did to the state of a cell is kept in a trace of the same size:

        trace_t = dc_t/dc_(t-1) trace_(t-1) + dc_t/dnet_u [x_t, h_(t-1), gates_(t-1), 1]
        dL_t/dw = dL_t/dnet_u [x_t, h_(t-1), gates_(t-1), 1] + dL_t/dc_(t-1) trace_(t-1)

    summed over the cells of a gate, with dc_t/dc_(t-1) = 1 in 1997, and the forget gate in 2000. A step costs as much
    as the weights are many, whatever the time behind it.

    Source: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, appendix A.1; F. A.
    Gers, J. Schmidhuber, F. Cummins, "Learning to Forget", Neural Computation 12(10), 2000.
    """

    def memory(self, cell: Cell[Any, Any], params: Any, dtype: Any) -> Float[Array, "sources units cells"]:
        core, own = _core(cell, params)
        sources = own.w_x.shape[0] + own.w_h.shape[0] + 1
        return jnp.zeros((sources, *_writers(core).shape), carry_dtype(dtype))

    def rule(
        self,
        cell: Cell[Any, Any],
        params: Any,
        carry: Any,
        memory: Float[Array, "sources units cells"],
        step: Steps,
        loss: StepLoss,
        noise: None,
    ) -> Stepped:
        core, own = _core(cell, params)
        if step.resets is not None:
            fresh = core.initial_carry((), jnp.result_type(*carry))
            carry = select(step.resets, fresh, carry)
            memory = jnp.where(step.resets, 0, memory)
        writers = _writers(core)
        seen = core.recurrent_input(carry)
        sources = jnp.concatenate([step.xs.astype(seen.dtype), seen, jnp.ones(1, seen.dtype)])
        zx, zh = core.project(own, step.xs), core.multiply(own, seen)

        def pointwise(zx: Array, c: Array) -> Any:
            return core.pointwise(own, zx, zh, carry._replace(c=c))

        after, pull = jax.vjp(pointwise, zx, carry.c)

        def scored(params: Any, after: Any) -> Array:
            return score(loss, cell.output(params, after, cell.project(params, step.xs)), step.targets, step.weights)

        value, (direct, of_after) = jax.value_and_grad(scored, argnums=(0, 1))(params, after)
        of_net, of_c = pull(of_after)
        # The columns of the trace go to those of the weights; the cells of a block share their gates.
        columns = jax.nn.one_hot(writers.ravel(), len(zx), dtype=memory.dtype)
        through = (memory * of_c).reshape(len(sources), -1) @ columns
        w_x, w_h, b = jnp.split(sources[:, None] * of_net + through, [len(step.xs), len(sources) - 1])
        gradient = own._replace(w_x=w_x, w_h=w_h, b=b[0])

        def state(zx: Array, c: Array) -> Array:
            return jnp.asarray(pointwise(zx, c).c)

        along = (writers[..., None] == np.arange(len(zx))).any(1)  # [units, net inputs]
        along = vary_with(jnp.asarray(along, zx.dtype), zx)
        slopes = jax.vmap(lambda net: jax.jvp(lambda zx: state(zx, carry.c), (zx,), (net,))[1])(along)
        _, kept = jax.jvp(lambda c: state(zx, c), (carry.c,), (jnp.ones_like(carry.c),))
        memory = select(step.valid, kept * memory + sources[:, None, None] * slopes, memory)
        whole = gradient if core is cell else direct._replace(cell=gradient)
        return Stepped(select(step.valid, after, carry), memory, value, whole)


def _core(cell: Cell[Any, Any], params: Any) -> tuple[LSTM | LSTM1997, Any]:
    """The LSTM and its parameters."""
    core, own = (cell.cell, params.cell) if isinstance(cell, Readout) else (cell, params)
    if isinstance(core, LSTM | LSTM1997):
        return core, own
    raise ValueError(f"Truncated1997 is for LSTM1997 and LSTM, alone or under a Readout, got {cell}")


def _writers(core: LSTM | LSTM1997) -> Int[np.ndarray, "units cells"]:
    """Row by row the net inputs (columns of the weights) that the state of each cell is written by."""
    cells = np.arange(core.hidden_size)
    if isinstance(core, LSTM):  # i, f, g
        return np.stack([cells, core.hidden_size + cells, 2 * core.hidden_size + cells])
    return np.stack([cells // core.block_size, core.blocks + cells])
