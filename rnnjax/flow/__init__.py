"""Instruments for gradient flow: what reaches a time step, a weight, or an earlier carry, and how fast it fades."""

from rnnjax.flow.adjoint import Loss
from rnnjax.flow.curve import Band, bootstrap, decay_rate, half_life, log_norm_ratio
from rnnjax.flow.jacobian import JacobianNorms, jacobian_norms
from rnnjax.flow.norms import GradientNorms, by_lag, gradient_norms, log_mean, parameter_gradient_norms

__all__ = [
    "Band",
    "GradientNorms",
    "JacobianNorms",
    "Loss",
    "bootstrap",
    "by_lag",
    "decay_rate",
    "gradient_norms",
    "half_life",
    "jacobian_norms",
    "log_mean",
    "log_norm_ratio",
    "parameter_gradient_norms",
]
