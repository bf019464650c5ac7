"""The activation functions that the ONNX standard lists for RNN, LSTM and GRU nodes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.registry import Registry


class Kind(NamedTuple):
    """A function `apply(x, *parameters)`, and the defaults of its alpha and beta; None: the standard has no default."""

    apply: Callable[..., Array]
    defaults: tuple[float | None, ...] = ()


KINDS: Registry[Kind] = Registry(
    "ONNX activation",
    {
        "Relu": Kind(jax.nn.relu),
        "Tanh": Kind(jnp.tanh),
        "Sigmoid": Kind(jax.nn.sigmoid),
        "Affine": Kind(lambda x, alpha, beta: alpha * x + beta, (None, None)),
        "LeakyRelu": Kind(jax.nn.leaky_relu, (0.01,)),
        "ThresholdedRelu": Kind(lambda x, alpha: jnp.where(x >= alpha, x, 0), (1.0,)),
        "ScaledTanh": Kind(lambda x, alpha, beta: alpha * jnp.tanh(beta * x), (None, None)),
        "HardSigmoid": Kind(lambda x, alpha, beta: jnp.clip(alpha * x + beta, 0, 1), (0.2, 0.5)),
        "Elu": Kind(jax.nn.elu, (1.0,)),
        "Softsign": Kind(jax.nn.soft_sign),
        "Softplus": Kind(jax.nn.softplus),
    },
)


@dataclass(frozen=True)
class OnnxActivation:
    """An activation function of the ONNX standard, called like any function of arrays:

        Relu: max(0, x)                      Tanh: tanh(x)                 Sigmoid: 1 / (1 + exp(-x))
        Affine: alpha x + beta               LeakyRelu: x, alpha x below 0
        ThresholdedRelu: x, 0 below alpha    ScaledTanh: alpha tanh(beta x)
        HardSigmoid: alpha x + beta, cut to 0 ... 1
        Elu: x, alpha (exp(x) - 1) below 0   Softsign: x / (1 + |x|)       Softplus: log(1 + exp(x))

    `alpha` and `beta` default to those of the ONNX operators of the same names: 0.01 for LeakyRelu, 1 for
    ThresholdedRelu and Elu, 0.2 and 0.5 for HardSigmoid. Affine and ScaledTanh have no defaults.

    Raises:
        UnknownName: a name that is not in the standard.
        ValueError: a missing `alpha` or `beta`, or one that the function does not take.

    Source: ONNX operators RNN, GRU and LSTM, version 22, "Activation functions".
    """

    name: str
    alpha: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        defaults = KINDS[self.name].defaults
        for index, parameter in enumerate(("alpha", "beta")):
            value = getattr(self, parameter)
            if index >= len(defaults):
                if value is not None:
                    raise ValueError(f"ONNX activation {self.name} takes no {parameter}, got {value!r}")
                continue
            value = defaults[index] if value is None else value
            if value is None:
                raise ValueError(f"ONNX activation {self.name} needs {parameter}: the standard has no default for it")
            object.__setattr__(self, parameter, float(value))

    @property
    def parameters(self) -> tuple[float, ...]:
        """`alpha` and `beta`, those that the function takes."""
        return tuple(value for value in (self.alpha, self.beta) if value is not None)

    def __call__(self, x: Array) -> Array:
        return KINDS[self.name].apply(x, *self.parameters)
