"""Optimiser chains by name: clipping that tells what it did, weight decay, then one of optax's optimisers."""

import math
from collections.abc import Callable
from functools import partial

import optax

from rnnjax.registry import Registry
from rnnjax.train.clipping import clip, clip_by_global_norm

OPTIMIZERS: Registry[Callable[[optax.ScalarOrSchedule], optax.GradientTransformation]] = Registry(
    "optimizer",
    {
        "sgd": optax.sgd,
        "momentum": partial(optax.sgd, momentum=0.9),
        "adam": optax.adam,
        "rmsprop": partial(optax.rmsprop, decay=0.95),
    },
)
"""Functions of the learning rate, a number or a schedule of optax."""


def make_optimizer(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    *,
    max_norm: float = math.inf,
    max_value: float | None = None,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """The chain of a training run; `clipping_norms` reads what clipping did.

    Args:
        name: of `OPTIMIZERS`.
        learning_rate: a number, or a schedule: a function of the step.
        max_norm: the global norm that gradients are clipped to.
        max_value: clips every entry by itself instead.
        weight_decay: times the weights is added to the clipped gradient.

    Raises:
        ValueError: an unknown name, `max_norm` together with `max_value`, a number out of range.
    """
    if max_value is not None and max_norm < math.inf:
        raise ValueError(f"give max_norm or max_value, got {max_norm} and {max_value}")
    if not (0 <= weight_decay < math.inf):
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
    parts = [clip_by_global_norm(max_norm) if max_value is None else clip(max_value)]
    if weight_decay > 0:
        parts.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*parts, OPTIMIZERS[name](learning_rate))
