"""The LSTM of 1997, as published."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import PointwiseCell, carry_dtype, squash_gates
from rnnjax.checks import check_floating, check_size
from rnnjax.initializers import Initializer, Uniform, Zeros


class LSTM1997Params(NamedTuple):
    """Weights of `LSTM1997`; units in the order input gates, memory cells, output gates: `cells + 2 * blocks`.

    Without output gates `cells + blocks`.
    """

    w_x: Float[Array, "input_size units"]
    w_h: Float[Array, "units units"]
    b: Float[Array, "units"]


class LSTM1997Carry(NamedTuple):
    """The cells' outputs `h`, their internal state `c`, and the activations of all gates, which feed all units."""

    h: Float[Array, "*batch hidden_size"]
    c: Float[Array, "*batch hidden_size"]
    gates: Float[Array, "*batch gates"]


@dataclass(frozen=True)
class LSTM1997(PointwiseCell[LSTM1997Params, LSTM1997Carry]):
    """Memory blocks of several cells that share an input and an output gate; no forget gate, and gates see gates:

        net     = x_t w_x + [h_(t-1), in_(t-1), out_(t-1)] w_h + b
        in, out = logistic(net_in), logistic(net_out)                one of each a block
        c_t     = c_(t-1) + in * g(net_c),    g(x) = 4 logistic(x) - 2
        h_t     = out * h(c_t),               h(x) = 2 logistic(x) - 1,    y_t = h_t

    `hidden_size` counts memory cells, `block_size` those of a block. `input_gate_bias` and `output_gate_bias` are added
    to the drawn biases: one number, or one a block. `g="logistic"`, `h="identity"` and `output_gate=False`, by which
    out = 1 and has no weights, make the cell of experiment 2a. Parameters:
    (input_size + hidden_size + 2 * hidden_size / block_size + 1) * (hidden_size + 2 * hidden_size / block_size).

    The derivative dc_t/dc_(t-1) is exactly 1, the constant error carousel, along the path that does not go through h.

    Source: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, appendix A.1, the
    forward pass; its gradient here is the whole one, not the truncated one of the paper.
    """

    hidden_size: int
    block_size: int = 1
    input_gate_bias: float | tuple[float, ...] = 0.0
    output_gate_bias: float | tuple[float, ...] = 0.0
    output_gate: bool = True
    g: Literal["symmetric", "logistic"] = "symmetric"
    h: Literal["symmetric", "identity"] = "symmetric"
    input_init: Initializer = Uniform(0.1)
    recurrent_init: Initializer = Uniform(0.1)
    bias_init: Initializer = Zeros()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "block_size", check_size("block_size", self.block_size))
        if self.hidden_size % self.block_size:
            raise ValueError(f"hidden_size must be a multiple of block_size, {self.block_size}, got {self.hidden_size}")
        for name in ("input_gate_bias", "output_gate_bias"):
            bias = getattr(self, name)
            if np.shape(bias) not in ((), (self.blocks,)):
                raise ValueError(f"{name} must be one number, or one for each of {self.blocks} blocks, got {bias}")
            object.__setattr__(self, name, tuple(map(float, bias)) if np.ndim(bias) else float(bias))
        if not self.output_gate and np.any(self.output_gate_bias):
            raise ValueError(f"output_gate_bias has no effect without output gates, got {self.output_gate_bias}")
        for name, known in ("g", ("symmetric", "logistic")), ("h", ("symmetric", "identity")):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be {' or '.join(known)}, got {getattr(self, name)!r}")

    @property
    def blocks(self) -> int:
        return self.hidden_size // self.block_size

    @property
    def gates(self) -> int:
        """Input and output gates together."""
        return (1 + self.output_gate) * self.blocks

    @property
    def is_damped(self) -> bool:
        return False

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> LSTM1997Params:
        input_size = check_size("input_size", input_size)
        check_floating("dtype", dtype)
        units = self.hidden_size + self.gates
        key_x, key_h, key_b = jax.random.split(key, 3)
        b = self.bias_init(key_b, (units,), carry_dtype(dtype))
        b = b.at[: self.blocks].add(jnp.asarray(self.input_gate_bias))
        if self.output_gate:
            b = b.at[-self.blocks :].add(jnp.asarray(self.output_gate_bias))
        weights = (
            self.input_init(key_x, (input_size, units), carry_dtype(dtype)),
            self.recurrent_init(key_h, (units, units), carry_dtype(dtype)),
            b,
        )
        return LSTM1997Params(*(weight.astype(dtype) for weight in weights))

    def initial_carry(self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> LSTM1997Carry:
        sizes = (self.hidden_size, self.hidden_size, self.gates)
        return LSTM1997Carry(*(jnp.zeros((*batch_shape, size), carry_dtype(dtype)) for size in sizes))

    def gate_sizes(self, params: LSTM1997Params) -> tuple[int, ...]:
        return (self.blocks, self.hidden_size, self.blocks)[: 2 + self.output_gate]

    def recurrent_input(self, carry: LSTM1997Carry) -> Array:
        return jnp.concatenate([carry.h, carry.gates], axis=-1)

    def pointwise(self, params: LSTM1997Params, zx: Array, zh: Array, carry: LSTM1997Carry) -> LSTM1997Carry:
        net_in, net_c, *net_out = jnp.split(zx + zh, np.cumsum(self.gate_sizes(params))[:-1], axis=-1)
        (gates,) = squash_gates(jnp.concatenate([net_in, *net_out], axis=-1), "s")
        opened, *shown = (
            jnp.repeat(gate, self.block_size, axis=-1) for gate in jnp.split(gates, self.gates // self.blocks, axis=-1)
        )
        squashed = jnp.tanh(0.5 * net_c)
        c = carry.c + opened * (2 * squashed if self.g == "symmetric" else 0.5 * squashed + 0.5)
        y = jnp.tanh(0.5 * c) if self.h == "symmetric" else c
        return LSTM1997Carry(h=shown[0] * y if shown else y, c=c, gates=gates)
