"""Cells with everything that the attributes of ONNX's recurrent nodes can ask for.

A node with the attributes of one of the package's own cells becomes that cell; these are for all others.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import AffineCell, HiddenCarry, PointwiseCell, draw_gates, draw_weights, matmul
from rnnjax.cells.elman import ElmanParams
from rnnjax.cells.gru import GRUParams, GRUResetBeforeParams
from rnnjax.cells.lstm import LSTMCarry, LSTMParams
from rnnjax.cells.lstm_peephole import PeepholeLSTMParams
from rnnjax.initializers import Glorot, Initializer, Orthogonal, Zeros
from rnnjax.interop.onnx.activations import OnnxActivation

Activations = tuple[OnnxActivation | str, ...]


@dataclass(frozen=True)
class OnnxRNN(PointwiseCell[ElmanParams, HiddenCarry]):
    """The ONNX operator RNN, in one direction:

        h_t = f(clip(x_t w_x + h_(t-1) w_h + b)),    y_t = h_t

    `activations`: (f,), names or `OnnxActivation`s. `clip`: the bound of the input of f on both sides, None for none.
    Parameters: (input_size + hidden_size + 1) * hidden_size.

    Source: ONNX operator RNN, version 22.
    """

    hidden_size: int
    activations: Activations = ("Tanh",)
    clip: float | None = None
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self, "f")

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> ElmanParams:
        return ElmanParams(*draw_weights(self, key, input_size, 1, dtype))

    def pointwise(self, params: ElmanParams, zx: Array, zh: Array, carry: HiddenCarry) -> HiddenCarry:
        (f,) = functions(self)
        return HiddenCarry(f(clip_to(zx + zh, self.clip)))


@dataclass(frozen=True)
class OnnxLSTM(PointwiseCell[LSTMParams | PeepholeLSTMParams, LSTMCarry]):
    """The ONNX operator LSTM, in one direction:

        z   = x_t w_x + h_(t-1) w_h + b
        i   = f(clip(z_i + p_i * c_(t-1)))
        k   = f(clip(z_f + p_f * c_(t-1))),    with input_forget k = 1 - i
        c_t = k * c_(t-1) + i * g(clip(z_g))
        o   = f(clip(z_o + p_o * c_t))
        h_t = o * h(c_t),    y_t = h_t

    `activations`: (f, g, h), names or `OnnxActivation`s. `clip`: the bound of the inputs of f and g on both sides, None
    for none; c_t, the input of h, is not clipped, as in onnxruntime. With `input_forget` the weights of the forget gate
    are there, as in the file, but not read. Without `peepholes` all p are 0. Parameters:
    4 * (input_size + hidden_size + 1) * hidden_size, and 3 * hidden_size peepholes.

    Source: ONNX operator LSTM, version 22; k = 1 - i: the review of its first version, onnx/onnx#149.
    """

    carry_type = LSTMCarry

    hidden_size: int
    activations: Activations = ("Sigmoid", "Tanh", "Tanh")
    clip: float | None = None
    input_forget: bool = False
    peepholes: bool = False
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self, "fgh")

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> LSTMParams | PeepholeLSTMParams:
        weights = draw_weights(self, key, input_size, 4, dtype)
        if self.peepholes:
            return PeepholeLSTMParams(*weights, jnp.zeros(3 * self.hidden_size, dtype))
        return LSTMParams(*weights)

    def pointwise(self, params: LSTMParams | PeepholeLSTMParams, zx: Array, zh: Array, carry: LSTMCarry) -> LSTMCarry:
        f, g, h = functions(self)
        z_i, z_f, z_g, z_o = jnp.split(zx + zh, 4, axis=-1)
        peepholes = jnp.split(params.peephole, 3) if isinstance(params, PeepholeLSTMParams) else (None, None, None)

        def gate(z: Array, peephole: Array | None, c: Array) -> Array:
            return f(clip_to(z if peephole is None else z + peephole * c, self.clip))

        i = gate(z_i, peepholes[0], carry.c)
        keep = 1 - i if self.input_forget else gate(z_f, peepholes[1], carry.c)
        c = keep * carry.c + i * g(clip_to(z_g, self.clip))
        return LSTMCarry(h=gate(z_o, peepholes[2], c) * h(c), c=c)


@dataclass(frozen=True)
class OnnxGRU(PointwiseCell[GRUParams, HiddenCarry]):
    """The ONNX operator GRU with linear_before_reset = 1, in one direction:

        zx = x_t w_x + b,    zh = h_(t-1) w_h
        r, z = f(clip(zx_rz + zh_rz))
        n    = g(clip(zx_n + r * (zh_n + b_h)))
        h_t  = z * h_(t-1) + (1 - z) * n,    y_t = h_t

    `activations`: (f, g), names or `OnnxActivation`s. `clip`: the bound of their inputs on both sides, None for none.
    Parameters: 3 * (input_size + hidden_size + 1) * hidden_size + hidden_size.

    Source: ONNX operator GRU, version 22.
    """

    hidden_size: int
    activations: Activations = ("Sigmoid", "Tanh")
    clip: float | None = None
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self, "fg")

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> GRUParams:
        key, key_n = jax.random.split(key)
        weights = draw_weights(self, key, input_size, 3, dtype)
        return GRUParams(*weights, draw_gates(self.bias_init, key_n, (self.hidden_size,), 1, dtype))

    def pointwise(self, params: GRUParams, zx: Array, zh: Array, carry: HiddenCarry) -> HiddenCarry:
        f, g = functions(self)
        split = 2 * self.hidden_size
        r, z = jnp.split(f(clip_to(zx[..., :split] + zh[..., :split], self.clip)), 2, axis=-1)
        n = g(clip_to(zx[..., split:] + r * (zh[..., split:] + params.b_h), self.clip))
        return HiddenCarry(z * carry.h + (1 - z) * n)


@dataclass(frozen=True)
class OnnxGRUResetBefore(AffineCell[GRUResetBeforeParams, HiddenCarry]):
    """The ONNX operator GRU with linear_before_reset = 0, its default, in one direction:

        zx   = x_t w_x + b
        r, z = f(clip(zx_rz + h_(t-1) w_h_rz))
        n    = g(clip(zx_n + (r * h_(t-1)) w_h_n))
        h_t  = z * h_(t-1) + (1 - z) * n,    y_t = h_t

    Settings as for `OnnxGRU`. Parameters: 3 * (input_size + hidden_size + 1) * hidden_size.

    Source: ONNX operator GRU, version 22.
    """

    hidden_size: int
    activations: Activations = ("Sigmoid", "Tanh")
    clip: float | None = None
    input_init: Initializer = Glorot()
    recurrent_init: Initializer = Orthogonal()
    bias_init: Initializer = Zeros()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self, "fg")

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> GRUResetBeforeParams:
        return GRUResetBeforeParams(*draw_weights(self, key, input_size, 3, dtype))

    def advance(self, params: GRUResetBeforeParams, carry: HiddenCarry, z: Array) -> HiddenCarry:
        f, g = functions(self)
        split = 2 * self.hidden_size
        gates = f(clip_to(z[..., :split] + matmul(carry.h, params.w_h[:, :split]), self.clip))
        r, update = jnp.split(gates, 2, axis=-1)
        n = g(clip_to(z[..., split:] + matmul(r * carry.h, params.w_h[:, split:]), self.clip))
        return HiddenCarry(update * carry.h + (1 - update) * n)


# --- pieces that the cells are written with ---------------------------------------------------------------------------


def check_settings(cell: Any, names: str) -> None:
    """Checks `clip`, and makes `activations` a tuple of `OnnxActivation`s, one for each of `names`."""
    given = (cell.activations,) if isinstance(cell.activations, str | OnnxActivation) else tuple(cell.activations)
    if len(given) != len(names):
        raise ValueError(f"activations must be {len(names)}, ({', '.join(names)}), got {given!r}")
    activations = tuple(OnnxActivation(each) if isinstance(each, str) else each for each in given)
    for each in activations:
        if not isinstance(each, OnnxActivation):
            raise TypeError(f"activations must be names or OnnxActivations, got {each!r}")
    object.__setattr__(cell, "activations", activations)
    if cell.clip is not None and not cell.clip > 0:
        raise ValueError(f"clip must be above 0, or None for no clipping, got {cell.clip!r}")


def functions(cell: Any) -> tuple[OnnxActivation, ...]:
    """The activations of a cell, which `check_settings` has made callable."""
    return cell.activations


def clip_to(z: Float[Array, "*batch gates"], bound: float | None) -> Float[Array, "*batch gates"]:
    return z if bound is None else jnp.clip(z, -bound, bound)
