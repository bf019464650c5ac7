"""Zoneout."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.cells.around import Around
from rnnjax.cells.base import Cell, PointwiseCell
from rnnjax.compose.base import WithNoise, check_rate, check_step, draw_mask


@dataclass(frozen=True)
class Zoneout(Around[Any, Any]):
    """A cell whose state, unit by unit, is at random left as it was:

        training:   carry_t = m_t * carry_(t-1) + (1 - m_t) * carry'_t
        evaluation: carry_t = rate * carry_(t-1) + (1 - rate) * carry'_t

    with carry'_t what the cell makes of carry_(t-1), and m_t one with probability `rate`, drawn for every step. `rate`
    is one for all components of the carry, or a tuple with one for each, in their order: `(0.05, 0.5)` for h and c of
    an LSTM. Not for cells whose carry has no separate units (`SLSTM`, `LRU`), and inside of `Dilated`, not around it.

    Source: D. Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations", 2016
    (arXiv:1606.01305).
    """

    cell: Cell[Any, Any]
    rate: float | tuple[float, ...] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_step(self.cell)
        if not self.cell.has_separate_units:
            name = type(self.cell).__name__
            raise ValueError(f"zoneout keeps units of the carry one by one, which those of {name} do not bear")
        rates = tuple(check_rate("rate", rate) for rate in self.rates)
        object.__setattr__(self, "rate", rates if isinstance(self.rate, tuple) else rates[0])
        if len(self.rates) != len(self._components):
            raise ValueError(f"rate must be one number or {len(self._components)}, one a component, got {self.rate}")

    @property
    def rates(self) -> tuple[float, ...]:
        """The rate of each component of the carry."""
        return self.rate if isinstance(self.rate, tuple) else (self.rate,) * len(self._components)

    @property
    def _components(self) -> list[Any]:
        return jax.tree.leaves(jax.eval_shape(self.cell.initial_carry))

    @property
    def is_random(self) -> bool:
        return max(self.rates) > 0 or self.cell.is_random

    def perturb(self, key: Array, params: Any, shape: tuple[int, ...]) -> tuple[Any, WithNoise]:
        key_cell, *keys = jax.random.split(key, 1 + len(self.rates))
        masks = tuple(
            draw_mask(key, rate, shape, component.shape, per_sequence=False)
            for key, rate, component in zip(keys, self.rates, self._components, strict=True)
        )
        params, noise = self.cell.perturb(key_cell, params, shape)
        return params, WithNoise(masks, noise)

    def project_with(self, params: Any, xs: Array, noise: Any) -> WithNoise:
        masks, noise = noise or (None, None)
        return WithNoise(masks, self.cell.project_with(params, xs, noise))

    def advance(self, params: Any, carry: Any, z: WithNoise) -> Any:
        return self._keep(carry, self.cell.advance(params, carry, z.cell), z.own)

    def pointwise_core(self, noise: Any) -> PointwiseCell[Any, Any]:
        _, noise = noise or (None, None)
        return self.cell.pointwise_core(noise)

    def pointwise_with(self, params: Any, zx: Any, zh: Any, carry: Any, noise: Any) -> Any:
        masks, noise = noise or (None, None)
        return self._keep(carry, self.cell.pointwise_with(params, zx, zh, carry, noise), masks)

    def _keep(self, old: Any, new: Any, masks: Any) -> Any:
        """The new carry where a mask takes it, the old one elsewhere; without masks, the mean of the two."""
        leaves, structure = jax.tree.flatten(old)
        pairs = [*zip(leaves, jax.tree.leaves(new), strict=True)]
        if masks is None:
            means = zip(self.rates, pairs, strict=True)
            kept = [rate * before + (1 - rate) * after for rate, (before, after) in means]
        else:
            picks = zip(masks, pairs, strict=True)
            kept = [after if taken is None else jnp.where(taken, after, before) for taken, (before, after) in picks]
        return jax.tree.unflatten(structure, kept)

    def output(self, params: Any, carry: Any, z: WithNoise) -> Array:
        return self.cell.output(params, carry, z.cell)
