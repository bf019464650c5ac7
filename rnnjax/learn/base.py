"""One signature for every way to get gradients of a recurrent network:

    (cell, params, carry, xs, loss) -> loss, gradients, carry

The network is a cell (`Readout(LSTM(32), 1)`), the loss a function of one step's output and target. The carry goes from
one call to the next: a long sequence may be given in pieces, down to single steps, with an update after each. It is
whatever the algorithm has to remember, the cell's own carry at least.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from rnnjax.cells.base import Cell, carry_dtype, output_dtype
from rnnjax.kernels.base import select, vary_with
from rnnjax.learn.dependence import depends
from rnnjax.scan import prepare, prepare_resets

StepLoss = Callable[[Array, Any], Array]
"""`(y, target) -> loss` of one step: the outputs `[*batch, output_size]` and what `targets` holds for the step, to one
value an example, `[*batch]`."""


class Learned(NamedTuple):
    """What an algorithm returns."""

    loss: Float[Array, ""]
    """The mean over the batch of the weighted sum over the steps."""
    gradients: Any
    """Its gradient, exact or as the algorithm has it: a pytree like the parameters, for any optax optimiser."""
    carry: Any
    """What the next piece of the same sequences goes on from."""


class Steps(NamedTuple):
    """The steps to learn from, checked: every array has the axes of time and batch in front."""

    xs: Float[Array, "time *batch features"]
    targets: Any
    weights: Float[Array, "time *batch"]
    """How much a step counts: 0 in the padding, and divided by the size of the batch."""
    valid: Bool[Array, "time *batch"] | None
    resets: Bool[Array, "time *batch"] | None


@dataclass(frozen=True)
class Algorithm(abc.ABC):
    """The interface of every algorithm: a frozen dataclass of settings, called as a function.

    An algorithm that is made of others says how it learns; see `rnnjax.learn.forward` for those that go forward.
    """

    def __call__(
        self,
        cell: Cell[Any, Any],
        params: Any,
        carry: Any,
        xs: Float[Array, "time *batch features"],
        loss: StepLoss,
        *,
        targets: Any = None,
        weights: Float[ArrayLike, "time *batch"] | None = None,
        lengths: Int[ArrayLike, "*batch"] | None = None,
        resets: Bool[ArrayLike, "time *batch"] | None = None,
        key: Array | None = None,
    ) -> Learned:
        """The loss of a batch of sequences, or of the next piece of them, and its gradients:

            L = mean over the batch of sum over t of weights_t loss(y_t, targets_t)

        >>> import jax, jax.numpy as jnp, rnnjax
        >>> network = rnnjax.Readout(rnnjax.Elman(8), 1)
        >>> params = network.init(jax.random.key(0), 2)
        >>> xs, targets = jnp.ones((20, 4, 2)), jnp.zeros((20, 4))
        >>> learn, square = rnnjax.learn.OneStep(), lambda y, target: (y[..., 0] - target) ** 2
        >>> loss, gradients, carry = learn(network, params, None, xs, square, targets=targets)

        Args:
            cell: the network, any cell with a step, such as `Readout(LSTM(32), 1)`; static under jit.
            params: its parameters.
            carry: what an earlier call returned, or None where the sequences begin. No gradient goes into it.
            xs: the inputs, `[time, batch, features]` or `[time, features]`.
            loss: `(y, target) -> loss` of one step, one value an example.
            targets: an array, or a pytree of arrays, `[time, batch, ...]`, given to `loss` step by step.
            weights: how much every step counts, 1 if None. The target of a step that does not count is never looked
                at, and may be NaN. Errors at the end alone: `rnnjax.tasks.base.at_end(lengths, time)`.
            lengths: real steps of every sequence; the padding counts for nothing, whatever it holds.
            resets: True where a new sequence begins; no gradient crosses the border.
            key: for algorithms that draw random numbers.

        Returns:
            `Learned`: the loss, its gradients (a pytree like `params`), and the carry. Inside `jax.shard_map` loss and
            gradients are those of the device's own part of the batch: their `lax.pmean` is that of the whole.

        Raises:
            TypeError: `xs`, `lengths`, `resets` or `weights` of the wrong kind.
            ValueError: parameters or a carry of another cell or algorithm, shapes that do not fit, a cell without
                steps or one that draws random numbers, a missing key.
        """
        carry, steps = self.prepare(
            cell, params, carry, xs, loss, targets=targets, weights=weights, lengths=lengths, resets=resets, key=key
        )
        params, carry, steps = vary_with((params, carry, steps), (params, carry, steps))
        result = self.learn(cell, params, carry, steps, loss, key)
        return result._replace(carry=lax.stop_gradient(result.carry))

    def prepare(
        self,
        cell: Cell[Any, Any],
        params: Any,
        carry: Any,
        xs: Array,
        loss: StepLoss,
        *,
        targets: Any = None,
        weights: Any = None,
        lengths: Any = None,
        resets: Any = None,
        key: Any = None,
    ) -> tuple[Any, Steps]:
        """Checks the arguments of a call; returns the carry to go on from, and the steps."""
        name = type(self).__name__
        if not cell.has_step:
            raise ValueError(f"{name} goes step by step, and a bidirectional cell sees the whole sequence")
        if cell.is_random:
            raise ValueError(f"{name} learns cells without random numbers, but {cell} draws some")
        if key is None and self.is_random:
            raise ValueError(f"{name} draws random numbers: give key=...")
        xs, fresh, valid = prepare(cell, params, xs, None, lengths)
        batch_shape, dtype = cell.leading_shape(xs)[1:], output_dtype(params, xs)
        _, resets = prepare_resets(cell, params, xs, fresh, lengths, resets)
        weights = _check_weights(weights, cell.leading_shape(xs), valid, dtype)
        for path, leaf in jax.tree_util.tree_leaves_with_path(targets):
            if jnp.shape(leaf)[: weights.ndim] != weights.shape:
                where = "targets" + jax.tree_util.keystr(path)
                raise ValueError(f"{where} must be {list(weights.shape)} and more, got shape {jnp.shape(leaf)}")
        targets = jax.tree.map(jnp.asarray, targets)
        y = jax.ShapeDtypeStruct((*batch_shape, *cell.feature_shape(cell.output_size)), dtype)
        _check_loss(loss, batch_shape, y, targets)
        targets = select(weights != 0, targets, jax.tree.map(jnp.zeros_like, targets))
        if carry is None:
            carry = self.start(cell, params, xs)
            if start_is_learned(cell, params):  # as a border, where it has a gradient
                resets = (jnp.zeros(weights.shape, bool) if resets is None else resets).at[0].set(True)
        else:
            carry = _check_carry(name, carry, jax.eval_shape(lambda: self.start(cell, params, xs)))
        return carry, Steps(xs, targets, weights / math.prod(batch_shape), valid, resets)

    @property
    def is_random(self) -> bool:
        """Whether it draws random numbers."""
        return False

    def start(self, cell: Cell[Any, Any], params: Any, xs: Float[Array, "time *batch features"]) -> Any:
        """The carry before the first step of sequences like `xs`: the cell's own, unless it says otherwise."""
        return cell.start(params, cell.leading_shape(xs)[1:], output_dtype(params, xs))

    @abc.abstractmethod
    def learn(
        self, cell: Cell[Any, Any], params: Any, carry: Any, steps: Steps, loss: StepLoss, key: Array | None
    ) -> Learned:
        """The rest of a call, from checked arguments."""


def transition(
    cell: Cell[Any, Any], params: Any, carry: Any, step: Steps
) -> tuple[Any, Float[Array, "*batch output_size"]]:
    """One step, `(params, carry, x_t) -> (carry_t, y_t)`; padding leaves the carry, a border begins anew."""
    dtype = output_dtype(params, step.xs)
    if step.resets is not None:
        carry = select(step.resets, cell.start(params, cell.leading_shape(step.xs), dtype), carry)
    z = cell.project(params, step.xs)
    carry = select(step.valid, cell.advance(params, carry, z), carry)
    return carry, cell.output(params, carry, z).astype(dtype)


def nothing(params: Any, carry: Any, steps: Steps) -> Learned:
    """What an algorithm adds up from, before its first step; inside `jax.shard_map` on each device by itself."""
    learned = Learned(jnp.zeros((), steps.weights.dtype), jax.tree.map(jnp.zeros_like, params), carry)
    return vary_with(learned, steps)


def score(loss: StepLoss, ys: Array, targets: Any, weights: Array) -> Float[Array, ""]:
    """The weighted sum of the losses of one step."""
    return jnp.where(weights != 0, weights * loss(ys, targets), 0).sum()


def score_all(loss: StepLoss, ys: Array, steps: Steps) -> Float[Array, ""]:
    """The loss of a whole run, from its outputs."""
    return jax.vmap(lambda *step: score(loss, *step))(ys, steps.targets, steps.weights).sum()


def start_is_learned(cell: Cell[Any, Any], params: Any) -> bool:
    """Whether the carry that a sequence starts from depends on parameters."""
    return any(any(row) for row in depends(lambda params: cell.start(params), params))


def _check_loss(loss: StepLoss, shape: tuple[int, ...], y: Any, targets: Any) -> None:
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), targets)
    value = jax.eval_shape(loss, y, target)
    if getattr(value, "shape", None) != shape or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"loss must return one floating-point value an example, shape {shape}, got {value}")


def _check_weights(weights: Any, shape: tuple[int, ...], valid: Any, dtype: Any) -> Array:
    wide = carry_dtype(dtype)
    weights = jnp.ones(shape, wide) if weights is None else jnp.asarray(weights)
    if not jnp.issubdtype(weights.dtype, jnp.floating):
        raise TypeError(f"weights must be floating point, got {weights.dtype}")
    if weights.shape != shape:
        raise ValueError(f"weights has shape {weights.shape}, but time and batch of xs have shape {shape}")
    return weights.astype(wide) if valid is None else jnp.where(valid, weights, 0).astype(wide)


def _check_carry(name: str, carry: Any, declared: Any) -> Any:
    """`carry`, cast to its declared dtypes, if it is one of this algorithm, cell and batch."""
    got: Any = jax.tree.map(jnp.shape, carry)
    wanted: Any = jax.tree.map(jnp.shape, declared)
    if got != wanted:
        raise ValueError(f"carry must be what {name} returned for sequences like these, {wanted}, got {got}")
    return jax.tree.map(lambda leaf, want: jnp.asarray(leaf, want.dtype), carry, declared)
