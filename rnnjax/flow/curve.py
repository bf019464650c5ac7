"""Numbers that sum up a curve of norms against the lag, and their confidence bands over seeds.

A curve is an array `[lags, ...]` of natural logarithms of norms, as `gradient_norms` gives them, at the given lags in
steps; further axes (seeds) stay as they are. Points that are exactly zero (-inf) or not a number are left out of a fit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float


def decay_rate(lags: Float[Array, "lags"], log_norms: Float[Array, "lags *seeds"]) -> Float[Array, "*seeds"]:
    """The rate r of norm ~ exp(-r lag), per step, by least squares on the logarithm; negative if the norm grows.

    exp(-r) is the factor that one step back multiplies the norm by. A curve that is zero from some lag on has the rate
    of its other points; one with fewer than two points has no rate (NaN).
    """
    lags = jnp.expand_dims(jnp.asarray(lags, log_norms.dtype), tuple(range(1, log_norms.ndim)))
    known = jnp.isfinite(log_norms)
    count = known.sum(0)
    mean_lag = jnp.where(known, lags, 0).sum(0) / count
    mean_log = jnp.where(known, log_norms, 0).sum(0) / count
    apart = jnp.where(known, lags - mean_lag, 0)
    return -(apart * jnp.where(known, log_norms - mean_log, 0)).sum(0) / jnp.square(apart).sum(0)


def half_life(rate: Float[Array, "*seeds"]) -> Float[Array, "*seeds"]:
    """Steps over which the norm halves, ln 2 / rate; infinite if it does not decay."""
    return jnp.where(rate > 0, jnp.log(2.0) / rate, jnp.where(jnp.isnan(rate), jnp.nan, jnp.inf))


def log_norm_ratio(lags: Float[Array, "lags"], log_norms: Float[Array, "lags *seeds"]) -> Float[Array, "*seeds"]:
    """ln of the norm at the largest lag over the norm at the smallest, the end of the sequence."""
    lags = jnp.asarray(lags)
    return log_norms[jnp.argmax(lags)] - log_norms[jnp.argmin(lags)]


class Band(NamedTuple):
    """A statistic over seeds with its confidence interval."""

    low: np.ndarray
    value: np.ndarray
    high: np.ndarray


def bootstrap(
    key: Array,
    values: Float[Array | np.ndarray, "seeds ..."],
    statistic: Callable[..., Any] = np.median,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Band:
    """A statistic of `values` over their first axis, with its percentile bootstrap interval.

    The seeds are drawn with replacement `resamples` times; `low` and `high` are the (1 -+ confidence) / 2 quantiles of
    the statistic (Efron 1979). `statistic` takes an `axis` argument. Runs in numpy, on results, and not under jit.
    """
    values = np.asarray(values)
    draws = np.asarray(jax.random.randint(key, (resamples, len(values)), 0, len(values)))
    resampled = statistic(values[draws], axis=1)
    # Infinite values (a norm of exactly zero) must not turn into NaN between two of them: no interpolation.
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(resampled, tails, axis=0, method="nearest")
    return Band(low, statistic(values, axis=0), high)
