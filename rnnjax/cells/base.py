"""The cell: a pure function of (parameters, carry, input).

A cell is a frozen dataclass that holds settings and no arrays. In the notation of state-space models one step is

    carry_t = advance(params, carry_(t-1), project(params, x_t))
    y_t     = output(params, carry_t, project(params, x_t))

`project` does not depend on the carry, so it can run over all time steps as one matrix product; `advance` is the
sequential rest. Most cells derive from `PointwiseCell` and write only `pointwise`: elementwise arithmetic after the one
product of the hidden state with the recurrent weights. Whatever else the package does (time, batches, gradients,
kernels) is done to these functions from outside.
"""

import abc
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from rnnjax.checks import check_carry, check_floating, check_inputs, check_params, check_size
from rnnjax.initializers import Chrono, Initializer

Params = TypeVar("Params")
Carry = TypeVar("Carry")


class HiddenCarry(NamedTuple):
    """The carry of a cell whose only memory is its hidden state."""

    h: Float[Array, "*batch hidden_size"]


class NotPointwise(Exception):
    """A cell's step is not one recurrent product and then arithmetic; says whose, and when."""


class Cell(abc.ABC, Generic[Params, Carry]):
    """The interface of every cell; see the module's docstring for the equations.

    The abstract methods make a cell. The others have a default that is right for most: what is not so for cells that
    are made of cells (`rnnjax.compose`), that draw random numbers in training, or whose inputs have more than one axis
    of features.
    """

    @property
    @abc.abstractmethod
    def output_size(self) -> int:
        """The size of the outputs."""

    @abc.abstractmethod
    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> Params:
        """Draws the parameters for inputs of `input_size` features."""

    @abc.abstractmethod
    def initial_carry(self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> Carry:
        """The carry before the first step (zeros), for any batch shape and parameters of `dtype`."""

    @abc.abstractmethod
    def input_size(self, params: Params) -> int:
        """The number of features that `params` were initialised for."""

    @abc.abstractmethod
    def project(self, params: Params, xs: Float[Array, "*batch features"]) -> Any:
        """Everything of a step that does not depend on the carry, for any leading axes (time among them)."""

    @abc.abstractmethod
    def advance(self, params: Params, carry: Carry, z: Any) -> Carry:
        """The sequential rest of a step: the next carry, from this one and the projected input `z`."""

    @abc.abstractmethod
    def output(self, params: Params, carry: Carry, z: Any) -> Float[Array, "*batch output_size"]:
        """The output that goes with a step's new carry."""

    def step(
        self, params: Params, carry: Carry, x: Float[Array, "*batch features"]
    ) -> tuple[Carry, Float[Array, "*batch output_size"]]:
        """One time step: `(params, carry, x) -> (carry, y)`, for any leading batch shape, as in evaluation.

        The carry out has the structure, shapes and dtypes of the carry in; `y` has the dtype of `x` and the
        parameters, promoted (`output_dtype`). Parameters, carry and input are checked as by `unroll`.
        """
        check_params(self, params)
        x = jnp.asarray(x)
        check_inputs(self, params, x, "x")
        carry = check_carry(self, carry, self.leading_shape(x), output_dtype(params, x))
        z = self.project(params, x)
        carry = self.advance(params, carry, z)
        return carry, self.output(params, carry, z).astype(output_dtype(params, x))

    # --- what has a default -------------------------------------------------------------------------------------------

    def start(self, params: Params, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> Carry:
        """The carry that a sequence starts from when none is given: `initial_carry`, unless it is learned."""
        return self.initial_carry(batch_shape, dtype)

    def feature_shape(self, size: int) -> tuple[int, ...]:
        """The trailing axes of inputs or outputs of `size` features: one, or more for a cell over space."""
        return (size,)

    def input_shape(self, params: Params) -> tuple[int, ...]:
        """The trailing axes of the inputs that `params` were initialised for."""
        return self.feature_shape(self.input_size(params))

    def leading_shape(self, xs: Array) -> tuple[int, ...]:
        """The shape of inputs or outputs without their feature axes."""
        return xs.shape[: xs.ndim - len(self.feature_shape(1))]

    @property
    def has_step(self) -> bool:
        """Whether the cell can make one step at a time, without the steps to come."""
        return True

    @property
    def has_separate_units(self) -> bool:
        """Whether each unit of the carry means something by itself, so that some of them can be kept as they were."""
        return True

    @property
    def is_random(self) -> bool:
        """Whether training draws random numbers: dropout and the like."""
        return False

    def perturb(self, key: Array, params: Params, shape: tuple[int, ...]) -> tuple[Params, Any]:
        """What training makes of the parameters, and the noise of every step.

        Drawn once for a whole sequence, before its loop. `shape` is that of time and batch; every array of the noise
        begins with these axes and goes to `project_with`.
        """
        return params, None

    def project_with(self, params: Params, xs: Float[Array, "*batch features"], noise: Any) -> Any:
        """`project`, with the noise of the same steps; None in evaluation."""
        return self.project(params, xs)

    def pointwise_core(self, noise: Any) -> "PointwiseCell[Any, Any]":
        """The cell whose parameters, `project` and `recur` are those of a step with this noise, None in evaluation.

        All else of the step is `pointwise_with`: kernels run the two. Raises `NotPointwise` if there is no such cell.
        """
        raise NotPointwise(f"{type(self).__name__} is none")

    def pointwise_with(self, params: Params, zx: Any, zh: Any, carry: Carry, noise: Any) -> Carry:
        """The next carry, from `project` and `recur` of the `pointwise_core`, and the noise: masks of the same step."""
        raise NotPointwise(f"{type(self).__name__} is none")


class SizedCell(Cell[Params, Carry]):
    """A cell of `hidden_size` units whose output is its hidden state `h`, unless it says otherwise."""

    hidden_size: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_size", check_size("hidden_size", self.hidden_size))

    @property
    def output_size(self) -> int:
        return self.hidden_size

    def output(self, params: Params, carry: Carry, z: Any) -> Float[Array, "*batch output_size"]:
        return carry.h  # type: ignore[attr-defined]


class AffineParams(Protocol):
    """What the parameters of an `AffineCell` have."""

    @property
    def w_x(self) -> Float[Array, "input_size gates*hidden_size"]: ...
    @property
    def b(self) -> Float[Array, "gates*hidden_size"]: ...


class PointwiseParams(AffineParams, Protocol):
    """What the parameters of a `PointwiseCell` have."""

    @property
    def w_h(self) -> Float[Array, "hidden_size gates*hidden_size"]: ...


class HasHidden(Protocol):
    """What the carry of an `AffineCell` has."""

    @property
    def h(self) -> Float[Array, "*batch hidden_size"]: ...


AffineParamsT = TypeVar("AffineParamsT", bound=AffineParams)
PointwiseParamsT = TypeVar("PointwiseParamsT", bound=PointwiseParams)
HasHiddenT = TypeVar("HasHiddenT", bound=HasHidden)


class AffineCell(SizedCell[AffineParamsT, HasHiddenT]):
    """A cell whose input enters as `x_t w_x + b`, and whose carry holds vectors of `hidden_size`.

    Parameters are a NamedTuple with `w_x`, `b` and whatever else; the carry is the NamedTuple
    `carry_type`, with a field `h`.
    """

    carry_type: ClassVar[Any] = HiddenCarry

    def initial_carry(self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> HasHiddenT:
        zeros = jnp.zeros((*batch_shape, self.hidden_size), carry_dtype(dtype))
        return self.carry_type(*(zeros for _ in self.carry_type._fields))

    def input_size(self, params: AffineParamsT) -> int:
        return params.w_x.shape[0]

    def project(self, params: AffineParamsT, xs: Float[Array, "*batch features"]) -> Array:
        return matmul(xs, params.w_x) + params.b


class PointwiseCell(AffineCell[PointwiseParamsT, HasHiddenT]):
    """A cell that is one matrix product of `h` and, after it, arithmetic within each example:

        carry_t = pointwise(params, zx = x_t w_x + b, zh = h_(t-1) w_h, carry_(t-1))

    `pointwise` may read every parameter but the two matrices, which a kernel keeps to itself.
    """

    def recurrent_input(self, carry: HasHiddenT) -> Float[Array, "*batch inputs"]:
        """What the recurrent weights multiply: the hidden state unless the cell says otherwise."""
        return carry.h

    @property
    def is_damped(self) -> bool:
        """Whether an error of the carry wears off, so that half-precision weights may round what they multiply."""
        return True

    def gate_sizes(self, params: PointwiseParamsT) -> tuple[int, ...]:
        """How many columns of the recurrent weights each gate has."""
        return (self.hidden_size,) * (params.w_h.shape[1] // self.hidden_size)

    def multiply(self, params: PointwiseParamsT, h: Float[Array, "*batch inputs"]) -> Float[Array, "*batch gates"]:
        """h w_h."""
        return matmul(h, params.w_h if self.is_damped else params.w_h.astype(h.dtype))

    def recur(self, params: PointwiseParamsT, carry: HasHiddenT) -> Float[Array, "*batch gates"]:
        """The product with the recurrent weights, `zh`."""
        return self.multiply(params, self.recurrent_input(carry))

    @abc.abstractmethod
    def pointwise(
        self,
        params: PointwiseParamsT,
        zx: Float[Array, "*batch gates"],
        zh: Float[Array, "*batch gates"],
        carry: HasHiddenT,
    ) -> HasHiddenT:
        """The elementwise rest: the next carry."""

    def advance(self, params: PointwiseParamsT, carry: HasHiddenT, z: Array) -> HasHiddenT:
        return self.pointwise(params, z, self.recur(params, carry), carry)

    def pointwise_core(self, noise: Any) -> "PointwiseCell[PointwiseParamsT, HasHiddenT]":
        if noise is not None:  # of a cell of one's own: `pointwise` does not know it
            raise NotPointwise(f"{type(self).__name__} is none with noise")
        return self

    def pointwise_with(self, params: PointwiseParamsT, zx: Any, zh: Any, carry: HasHiddenT, noise: Any) -> HasHiddenT:
        return self.pointwise(params, zx, zh, carry)


# --- pieces that cells are written with ------------------------------------------------------------------------------


def carry_dtype(dtype: Any) -> Any:
    """What a carry is kept in: `dtype`, but at least float32, so that rounding does not pile up over time."""
    return jnp.promote_types(dtype, jnp.float32)


def output_dtype(params: Any, xs: Array) -> Any:
    """The dtype of the outputs: that of the inputs and all parameters, promoted."""
    return jnp.result_type(xs.dtype, *(leaf.dtype for leaf in jax.tree.leaves(params)))


def matmul(x: Array, w: Array) -> Array:
    """x w, accumulated in float32 or wider; a float32 carry meets half-precision weights in their precision."""
    if jnp.finfo(w.dtype).bits < 32 and x.dtype == jnp.float32:
        x = x.astype(w.dtype)
    return jnp.matmul(x, w, preferred_element_type=carry_dtype(jnp.promote_types(x.dtype, w.dtype)))


def squash_gates(z: Float[Array, "*batch gates"], kinds: str) -> list[Array]:
    """Splits `z` into equal gates and squashes them: `s` the logistic function, `t` tanh.

    All go through one tanh, by logistic(x) = tanh(x / 2) / 2 + 1 / 2: on a CPU that is several times faster than two
    kinds of exponentials.
    """
    slope = np.repeat([0.5 if kind == "s" else 1.0 for kind in kinds], z.shape[-1] // len(kinds)).astype(z.dtype)
    gates = jnp.split(jnp.tanh(z * slope), len(kinds), axis=-1)
    return [0.5 * gate + 0.5 if kind == "s" else gate for gate, kind in zip(gates, kinds, strict=True)]


def draw_gates(init: Initializer, key: Array, shape: tuple[int, ...], gates: int, dtype: Any) -> Array:
    """One block of `shape` a gate, each drawn by itself, side by side; drawn in float32 for half precision."""
    blocks = jax.vmap(lambda key: init(key, shape, carry_dtype(dtype)))(jax.random.split(key, gates))
    return jnp.moveaxis(blocks, 0, -2).reshape(*shape[:-1], gates * shape[-1]).astype(dtype)


def draw_weights(cell: Any, key: Array, input_size: int, gates: int, dtype: Any) -> tuple[Array, Array, Array]:
    """`w_x`, `w_h` and `b` of a cell with `gates` gates, from its `input_init`, `recurrent_init` and `bias_init`."""
    input_size = check_size("input_size", input_size)
    check_floating("dtype", dtype)
    hidden_size = cell.hidden_size
    key_x, key_h, key_b = jax.random.split(key, 3)
    return (
        draw_gates(cell.input_init, key_x, (input_size, hidden_size), gates, dtype),
        draw_gates(cell.recurrent_init, key_h, (hidden_size, hidden_size), gates, dtype),
        draw_gates(cell.bias_init, key_b, (hidden_size,), gates, dtype),
    )


GateBias = float | Chrono
"""What a cell adds to the drawn bias of the gate that keeps its state."""


def draw_gate_bias(bias: GateBias, key: Array, size: int, dtype: Any) -> Float[Array, "hidden_size"]:
    """Drawn in float32 for half precision, so that the weights do not depend on the precision."""
    return (bias(key, (size,), carry_dtype(dtype)) if isinstance(bias, Chrono) else jnp.full(size, bias)).astype(dtype)


def raise_second_gate(
    b: Float[Array, "gates*hidden_size"], bias: GateBias, key: Array, gates: int = 4, lower_first: bool = False
) -> Float[Array, "gates*hidden_size"]:
    """Biases with that of the second gate raised: f of i, f, g, o or z of r, z, n.

    With `lower_first` a `Chrono` bias lowers the first gate, the input gate of an LSTM, as much.
    """
    size = len(b) // gates
    extra = draw_gate_bias(bias, key, size, b.dtype)
    b = b.at[size : 2 * size].add(extra)
    return b.at[:size].add(-extra) if lower_first and isinstance(bias, Chrono) else b
