"""The simple recurrent network of Elman (1990)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import HiddenCarry, PointwiseCell, draw_weights, squash_gates
from rnnjax.initializers import Glorot, Initializer, Orthogonal, Zeros
from rnnjax.registry import Registry

Activation = Callable[[Array], Array]

ACTIVATIONS: Registry[Activation] = Registry(
    "activation",
    {
        "tanh": jnp.tanh,
        "relu": jax.nn.relu,
        "identity": lambda z: z,
        "logistic": lambda z: squash_gates(z, "s")[0],
    },
)


class ElmanParams(NamedTuple):
    """Weights of `Elman`."""

    w_x: Float[Array, "input_size hidden_size"]
    w_h: Float[Array, "hidden_size hidden_size"]
    b: Float[Array, "hidden_size"]


@dataclass(frozen=True)
class Elman(PointwiseCell[ElmanParams, HiddenCarry]):
    """Elman network (simple RNN):

        h_t = activation(x_t w_x + h_(t-1) w_h + b),    y_t = h_t

    `activation`: "tanh", "relu", "identity", "logistic", or any elementwise function. Parameters:
    (input_size + hidden_size + 1) * hidden_size.

    Source: J. L. Elman, "Finding structure in time", Cognitive Science 14(2), 1990, with the fully connected context
    layer that every library uses.
    """

    hidden_size: int
    activation: str | Activation = "tanh"
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.activation, str):
            ACTIVATIONS[self.activation]

    @property
    def is_damped(self) -> bool:
        return self.activation not in ("relu", "identity")

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> ElmanParams:
        return ElmanParams(*draw_weights(self, key, input_size, 1, dtype))

    def pointwise(self, params: ElmanParams, zx: Array, zh: Array, carry: HiddenCarry) -> HiddenCarry:
        activation = ACTIVATIONS[self.activation] if isinstance(self.activation, str) else self.activation
        return HiddenCarry(activation(zx + zh))
