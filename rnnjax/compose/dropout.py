"""Dropout: of inputs and outputs, of what the recurrent weights see, of the recurrent weights themselves."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnjax.cells.around import Around
from rnnjax.cells.base import Cell, NotPointwise, PointwiseCell
from rnnjax.compose.base import Composite, Run, WithNoise, check_rate, draw_mask, drop


@dataclass(frozen=True)
class Dropout(Composite[Any, Any], Around[Any, Any]):
    """Dropout of a cell's inputs and of its outputs; nothing that goes through time is dropped:

        carry_t, y'_t = step(params, carry_(t-1), m_t * x_t / (1 - input_rate))
        y_t = n_t * y'_t / (1 - output_rate)

    The masks m_t and n_t are zero with probability `input_rate` and `output_rate`. They are drawn anew at every step,
    or with `variational` once for each row of the batch (`resets` do not draw them anew). In evaluation there are none.

    Source: W. Zaremba, I. Sutskever, O. Vinyals, "Recurrent Neural Network Regularization", 2014 (arXiv:1409.2329);
    variational: Y. Gal, Z. Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks",
    2015 (arXiv:1512.05287).
    """

    cell: Cell[Any, Any]
    input_rate: float = 0.0
    output_rate: float = 0.0
    variational: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("input_rate", "output_rate"):
            object.__setattr__(self, name, check_rate(name, getattr(self, name)))

    @property
    def is_random(self) -> bool:
        return self.input_rate > 0 or self.output_rate > 0 or self.cell.is_random

    def perturb(self, key: Array, params: Any, shape: tuple[int, ...]) -> tuple[Any, WithNoise]:
        key_in, key_out, key_cell = jax.random.split(key, 3)
        masks = (
            draw_mask(key_in, self.input_rate, shape, self.input_shape(params), self.variational),
            draw_mask(key_out, self.output_rate, shape, self.feature_shape(self.output_size), self.variational),
        )
        params, noise = self.cell.perturb(key_cell, params, shape)
        return params, WithNoise(masks, noise)

    def compose(self, params: Any, xs: Array, carry: Any, noise: Any, run: Run) -> tuple[Any, Array]:
        (mask_in, mask_out), noise = noise or ((None, None), None)
        carry, ys = run(self.cell, params, drop(xs, mask_in, self.input_rate), carry, noise)
        return carry, drop(ys, mask_out, self.output_rate)


@dataclass(frozen=True)
class RecurrentDropout(Around[Any, Any]):
    """Dropout of what the recurrent weights multiply, one mask a sequence and a gate:

        zh_k    = (m_k * h_(t-1) / (1 - rate)) w_h_k                 for every gate k
        carry_t = pointwise(params, x_t w_x + b, zh, carry_(t-1))

    m_k is zero with probability `rate`, drawn once for each row of the batch, or with `variational=False` anew at every
    step. The state itself is left alone: what an LSTM's c or a GRU's z * h_(t-1) carries over time stays whole.

    Source: Y. Gal, Z. Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", 2015
    (arXiv:1512.05287), section 4, with untied masks.
    """

    cell: Any
    rate: float = 0.25
    variational: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rate", check_rate("rate", self.rate))
        if not isinstance(self.cell, PointwiseCell):
            hint = ": put it directly around the cell" if isinstance(self.cell, Around | Composite) else ""
            name = type(self.cell).__name__
            raise ValueError(f"recurrent dropout needs a cell with one recurrent product, and {name} is none{hint}")

    @property
    def is_random(self) -> bool:
        return self.rate > 0

    def perturb(self, key: Array, params: Any, shape: tuple[int, ...]) -> tuple[Any, Array | None]:
        inputs = jax.eval_shape(lambda: self.cell.recurrent_input(self.cell.initial_carry())).shape
        gates = len(self.cell.gate_sizes(params))
        return params, draw_mask(key, self.rate, shape, (gates, *inputs), self.variational)

    def project_with(self, params: Any, xs: Array, noise: Any) -> WithNoise:
        return WithNoise(noise, self.cell.project(params, xs))

    def advance(self, params: Any, carry: Any, z: WithNoise) -> Any:
        if z.own is None:
            return self.cell.advance(params, carry, z.cell)
        seen = drop(self.cell.recurrent_input(carry)[..., None, :], z.own, self.rate)
        blocks = jnp.split(params.w_h, np.cumsum(self.cell.gate_sizes(params))[:-1], axis=1)
        zh = [self.cell.multiply(params._replace(w_h=block), seen[..., gate, :]) for gate, block in enumerate(blocks)]
        return self.cell.pointwise(params, z.cell, jnp.concatenate(zh, axis=-1), carry)

    def pointwise_core(self, noise: Any) -> PointwiseCell[Any, Any]:
        if noise is not None:
            raise NotPointwise("RecurrentDropout is none in training, with a mask and a product a gate")
        core: PointwiseCell[Any, Any] = self.cell
        return core

    def pointwise_with(self, params: Any, zx: Any, zh: Any, carry: Any, noise: Any) -> Any:
        return self.cell.pointwise(params, zx, zh, carry)

    def output(self, params: Any, carry: Any, z: WithNoise) -> Array:
        return self.cell.output(params, carry, z.cell)


@dataclass(frozen=True)
class WeightDrop(Composite[Any, Any], Around[Any, Any]):
    """Dropout of weights (DropConnect), one mask for all steps and sequences of a batch:

        carry_t, y_t = step(params', carry_(t-1), x_t),    w' = m * w / (1 - rate)

    for every weight named in `weights`, with m zero with probability `rate`.

    Source: S. Merity, N. S. Keskar, R. Socher, "Regularizing and Optimizing LSTM Language Models", 2017
    (arXiv:1708.02182), section 2.
    """

    cell: Cell[Any, Any]
    rate: float = 0.5
    weights: tuple[str, ...] = ("w_h",)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rate", check_rate("rate", self.rate))
        if not isinstance(self.weights, list | tuple) or not all(isinstance(name, str) for name in self.weights):
            raise ValueError(f"weights must be a tuple of names, got {self.weights!r}")
        object.__setattr__(self, "weights", tuple(self.weights))

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> Any:
        params = self.cell.init(key, input_size, dtype)
        known = [name for name, leaf in params._asdict().items() if isinstance(leaf, Array)]
        unknown = [name for name in self.weights if name not in known]
        if unknown:
            has = f"only {', '.join(known)}" if known else "being made of others: put it around the cells inside"
            raise ValueError(f"weights: {type(params).__name__} has no {unknown[0]!r}, {has}")
        return params

    @property
    def is_random(self) -> bool:
        return self.rate > 0 or self.cell.is_random

    def perturb(self, key: Array, params: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
        key, key_cell = jax.random.split(key)
        params, noise = self.cell.perturb(key_cell, params, shape)
        dropped = {}
        for name, key_w in zip(self.weights, jax.random.split(key, len(self.weights)), strict=True):
            weight = getattr(params, name)
            dropped[name] = drop(weight, jax.random.bernoulli(key_w, 1 - self.rate, weight.shape), self.rate)
        return params._replace(**dropped), noise

    def compose(self, params: Any, xs: Array, carry: Any, noise: Any, run: Run) -> tuple[Any, Array]:
        return run(self.cell, params, xs, carry, noise)
